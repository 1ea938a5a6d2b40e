//! Channel to the service: adds the deadline and metadata of the command line to every call.

use std::time::Instant;

use tokio::time::timeout_at;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status, Streaming};

use super::error::CliError;
use crate::cli::args::ServerArgs;
use crate::pb::admin_service_client::AdminServiceClient;
use crate::pb::cache_service_client::CacheServiceClient;

/// Name of the metadata with a token.
const AUTHORIZATION: &str = "authorization";

/// Service to call. Connects at the first call, and again after the connection broke.
pub(super) struct ServiceConnection<'a> {
    args: &'a ServerArgs,
    channel: Channel,
    /// Value of the metadata `authorization`.
    authorization: Option<AsciiMetadataValue>,
}

// === impl Connection ===

impl<'a> ServiceConnection<'a> {
    /// Reads the files of TLS and credentials. Does not connect.
    pub fn new(args: &'a ServerArgs) -> Result<Self, CliError> {
        let channel = args.credentials.endpoint(&args.server)?.connect_lazy();
        let authorization = args.credentials.authorization(&args.server)?;
        if authorization.is_some() && args.headers.iter().any(|(name, _)| name == AUTHORIZATION) {
            return Err(CliError::Usage("--token-file and --header authorization are both given".to_owned()));
        }
        Ok(ServiceConnection { args, channel, authorization })
    }

    /// Calls `rpc` with `message`, with the deadline.
    pub async fn call<Q, A>(
        &self,
        message: Q,
        rpc: impl AsyncFnOnce(Channel, Request<Q>) -> Result<Response<A>, Status>,
    ) -> Result<A, CliError> {
        let started = Instant::now();
        let timeout = self.args.timeout;
        let mut request = self.request(message);
        request.set_timeout(timeout);
        let status = match tokio::time::timeout(timeout, rpc(self.channel.clone(), request)).await {
            Ok(Ok(response)) => return Ok(response.into_inner()),
            // tonic reports CANCELLED for a deadline that it noticed itself.
            Ok(Err(status)) if status.code() != Code::Cancelled || started.elapsed() < timeout => status,
            _ => return Err(self.too_late()),
        };
        Err(self.failure(status))
    }

    /// Opens a stream. Only its start has a deadline.
    pub async fn open<Q, A>(
        &self,
        message: Q,
        rpc: impl AsyncFnOnce(Channel, Request<Q>) -> Result<Response<Streaming<A>>, Status>,
    ) -> Result<Streaming<A>, CliError> {
        match tokio::time::timeout(self.args.timeout, rpc(self.channel.clone(), self.request(message))).await {
            Ok(opened) => opened.map(Response::into_inner).map_err(|status| self.failure(status)),
            Err(_) => Err(self.too_late()),
        }
    }

    /// Calls `rpc` with `message`, and passes each message of its stream to `receive`. The deadline is
    /// that of the whole stream.
    pub async fn stream<Q, A>(
        &self,
        message: Q,
        rpc: impl AsyncFnOnce(Channel, Request<Q>) -> Result<Response<Streaming<A>>, Status>,
        mut receive: impl FnMut(A) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        let until = tokio::time::Instant::now() + self.args.timeout;
        let mut request = self.request(message);
        request.set_timeout(self.args.timeout);
        let opened = timeout_at(until, rpc(self.channel.clone(), request)).await.map_err(|_| self.too_late())?;
        let mut stream = opened.map_err(|status| self.failure(status))?.into_inner();
        loop {
            let message = timeout_at(until, stream.message()).await.map_err(|_| self.too_late())?;
            match message.map_err(|status| self.failure(status))? {
                Some(message) => receive(message)?,
                None => return Ok(()),
            }
        }
    }

    /// Converts a status of this service to an error.
    pub fn failure(&self, status: Status) -> CliError {
        let (server, encryption) = (&self.args.server, self.args.credentials.encryption(&self.args.server));
        CliError::Call { server: server.name.clone(), encryption, status: Box::new(status) }
    }

    fn too_late(&self) -> CliError {
        let timeout = humantime::format_duration(self.args.timeout);
        self.failure(Status::deadline_exceeded(format!("no answer within {timeout}")))
    }

    fn request<Q>(&self, message: Q) -> Request<Q> {
        let mut request = Request::new(message);
        for (name, value) in &self.args.headers {
            request.metadata_mut().append(name, value.clone());
        }
        if let Some(value) = &self.authorization {
            request.metadata_mut().insert(AUTHORIZATION, value.clone());
        }
        request
    }
}

/// Returns the client of the contract. The service limits the size of values, this program does
/// not.
pub(super) fn cache(channel: Channel) -> CacheServiceClient<Channel> {
    CacheServiceClient::new(channel).max_decoding_message_size(usize::MAX)
}

/// Returns the client of the contract for administration.
pub(super) fn admin(channel: Channel) -> AdminServiceClient<Channel> {
    AdminServiceClient::new(channel).max_decoding_message_size(usize::MAX)
}
