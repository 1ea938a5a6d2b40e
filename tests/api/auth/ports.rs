//! The admin port and anonymous callers.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::Code;

use super::*;
use crate::harness::{Refusal as _, WAIT_TIMEOUT, within};

const ADMIN: &[(&str, &str)] = &[("admin.enabled", "true"), ("admin.listen", "127.0.0.1:0")];

async fn http(replica: &Replica, path: &str, authorization: Option<&str>) -> (u16, String) {
    let address = replica.admin_address();
    let header = authorization.map(|value| format!("authorization: {value}\r\n")).unwrap_or_default();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n{header}connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    if path == "/events" {
        let mut head = [0; 512];
        let read = within(WAIT_TIMEOUT, stream.read(&mut head)).await.unwrap();
        answer = String::from_utf8_lossy(&head[..read]).into_owned();
    } else {
        within(WAIT_TIMEOUT, stream.read_to_string(&mut answer)).await.unwrap();
    }
    (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
}

#[tokio::test]
async fn the_admin_port_needs_admin_but_probes_stay_open() {
    let tenant = r#"[{"namespaces": ["cart"], "verbs": ["admin", "stats"]}]"#;
    let settings = with(teams(&[("tenant", "t", tenant)]), ADMIN);
    let replica = Replica::with_metrics(&borrowed(&settings), &[]).await;
    let (basic, root, other) = ("Basic YW55OnJvb3QtdG9rZW4=", bearer(ROOT), bearer("t"));
    for path in ["/", "/page.js", "/metrics", "/events"] {
        let (none, head) = http(&replica, path, None).await;
        assert_eq!(none, 401, "{path}");
        assert!(head.to_lowercase().contains("www-authenticate: basic realm=\"twintier\""), "{head}");
        assert_eq!(http(&replica, path, Some("Bearer wrong")).await.0, 401, "{path}");
        assert_eq!(http(&replica, path, Some("Basic dDp3cm9uZw==")).await.0, 401, "{path}");
        assert_eq!(http(&replica, path, Some(&other)).await.0, 403, "{path}");
        assert_eq!(http(&replica, path, Some(&root)).await.0, 200, "{path}");
        assert_eq!(http(&replica, path, Some(basic)).await.0, 200, "{path}");
    }
    for path in ["/livez", "/readyz"] {
        assert_eq!(http(&replica, path, None).await.0, 200, "{path}");
        assert_eq!(http(&replica, path, Some("Bearer wrong")).await.0, 200, "{path}");
    }
    let metrics = http(&replica, "/metrics", Some(&root)).await.1;
    for line in [
        r#"twintier_auth_decisions_total{result="denied",verb="admin"} 4"#,
        r#"twintier_auth_failed_logins_total{reason="no_credential"} 4"#,
        r#"twintier_auth_failed_logins_total{reason="unknown_token"} 8"#,
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
}

#[tokio::test]
async fn an_event_stream_ends_when_identities_change() {
    let settings = with(teams(&[]), ADMIN);
    let replica = Replica::with_metrics(&borrowed(&settings), &[]).await;
    let address = replica.admin_address();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET /events HTTP/1.0\r\nhost: {address}\r\nauthorization: {}\r\n\r\n", bearer(ROOT));
    stream.write_all(request.as_bytes()).await.unwrap();
    assert!(stream.read_u8().await.is_ok());
    replica.reload_auth(&borrowed(&settings));
    within(WAIT_TIMEOUT, stream.read_to_end(&mut Vec::new())).await.expect("it ends");
}

#[tokio::test]
async fn an_anonymous_caller_has_its_grants_and_no_reflection() {
    let anonymous = r#"[{"namespaces": ["public"], "verbs": ["read"]}]"#;
    let replica = start(&with(teams(&[]), &[("auth.anonymous", anonymous)])).await;
    let mut client = replica.client.clone();
    assert!(client.get(get("public", "k")).await.is_ok());
    for (denied, code) in [
        (client.get(get("secret", "k")).await.map(drop), Code::PermissionDenied),
        (client.set(set("public", "k", "v")).await.map(drop), Code::PermissionDenied),
        (replica.get_as("wrong", "public", "k").await.map(drop), Code::Unauthenticated),
    ] {
        assert_eq!(denied.unwrap_err().code(), code);
    }
    let path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let mut wire = Wire::connect(replica.address).await;
    let refused = call(&mut wire, path, &[], &[]).await.status;
    assert_eq!((refused.code(), refused.reason()), (Code::Unauthenticated, "NO_CREDENTIAL".to_owned()));
    let root = bearer(ROOT);
    assert_eq!(call(&mut wire, path, &[("authorization", &root)], &[]).await.status.code(), Code::Ok);
}

#[tokio::test]
async fn shadow_counts_what_would_be_denied() {
    let mut settings = teams(&[("none", "none-token", "[]")]);
    settings[0].1 = "shadow".to_owned();
    let replica = Replica::with_metrics(&borrowed(&settings), &[]).await;
    replica.get_as("none-token", "", "k").await.unwrap();
    replica.get_as("wrong", "", "k").await.unwrap();
    replica.get_as(ROOT, "", "k").await.unwrap();
    let metrics = replica.scrape();
    let decisions = |result| metrics.get("twintier_auth_decisions_total", &[("result", result), ("verb", "read")]);
    assert_eq!((decisions("allowed"), decisions("would_deny"), decisions("denied")), (1.0, 2.0, 0.0));
}
