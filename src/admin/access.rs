//! Access to the admin server: the verb `admin` on `*`, except for probes.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::serve::HttpCaller;
use crate::auth::{Ask, Authority, Authorization, Demand, Denied, Verb};

/// Schemes that a browser or a scraper may use. A browser asks for a password, which is the token.
const SCHEMES: &str = "Basic realm=\"twintier\", charset=\"UTF-8\", Bearer";

/// Serves a request if its caller is granted `admin` on `*`.
pub async fn require_admin(
    State(authority): State<Arc<Authority>>,
    axum::Extension(caller): axum::Extension<HttpCaller>,
    request: Request,
    next: Next,
) -> Response {
    if authority.is_on()
        && let Err(refusal) = decide(&authority, &caller, request.headers())
    {
        return *refusal;
    }
    next.run(request).await
}

fn decide(authority: &Authority, caller: &HttpCaller, headers: &HeaderMap) -> Result<(), Box<Response>> {
    let header = bearer(headers);
    let authorization = match &header {
        Ok(None) => Authorization::Absent,
        Ok(Some(value)) => Authorization::One(value),
        Err(Several) => Authorization::Several,
    };
    let certificate = caller.certificate.as_deref();
    let found = authority.identify(authorization, certificate, caller.address, &caller.address);
    let known = found.map_err(|_| {
        let text = "a credential is needed: a Bearer token, or the token as the password\n";
        let challenge = [(WWW_AUTHENTICATE, HeaderValue::from_static(SCHEMES))];
        Box::new((StatusCode::UNAUTHORIZED, challenge, text).into_response())
    })?;
    let ask = Ask::All(vec![Demand::everywhere(Verb::Admin)]);
    authority
        .decide(&known, &ask, &caller.address)
        .map_err(|Denied(text)| Box::new((StatusCode::FORBIDDEN, format!("{text}\n")).into_response()))
}

/// A request with several headers `authorization`.
struct Several;

/// Returns the header `authorization`, with a password as a Bearer token.
fn bearer(headers: &HeaderMap) -> Result<Option<Vec<u8>>, Several> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Several);
    }
    Ok(Some(password(value.as_bytes()).unwrap_or_else(|| value.as_bytes().to_vec())))
}

/// Returns the header of the token that is the password of `Basic` credentials.
fn password(value: &[u8]) -> Option<Vec<u8>> {
    let (scheme, encoded) = value.split_at_checked(b"Basic ".len())?;
    if !scheme.eq_ignore_ascii_case(b"Basic ") {
        return None;
    }
    let decoded = BASE64_STANDARD.decode(encoded.trim_ascii()).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    Some([b"Bearer ", &decoded[colon + 1..]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_a_token() {
        let of = |text: &str| password(text.as_bytes()).map(|bytes| String::from_utf8(bytes).expect("text"));
        assert_eq!(of("Basic YWRtaW46c2VjcmV0OngJ"), Some("Bearer secret:x\t".to_owned()));
        assert_eq!(of("basic OnNlY3JldA=="), Some("Bearer secret".to_owned()));
        for other in ["Bearer secret", "Basic", "Basic %", "Basic c2VjcmV0", ""] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
