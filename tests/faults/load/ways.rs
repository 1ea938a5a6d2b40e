//! How load clients reach replicas: one by one, or balanced over all.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use tonic::body::Body;
use tonic::transport::Channel;
use tower_service::Service;

use crate::balanced::Balanced;

type Failure = Box<dyn Error + Send + Sync>;

/// Connection to one replica, or balanced over all.
#[derive(Clone)]
pub enum Way {
    One(Channel),
    Any(Balanced),
}

impl Service<Request<Body>> for Way {
    type Response = Response<Body>;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Failure>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        match self {
            Way::One(channel) => channel.poll_ready(context).map_err(Into::into),
            Way::Any(_) => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match self {
            Way::One(channel) => {
                let answer = channel.call(request);
                Box::pin(async move { Ok(answer.await?) })
            }
            Way::Any(balanced) => {
                let balanced = balanced.clone();
                Box::pin(async move { balanced.call(request).await })
            }
        }
    }
}
