//! Tests of the built binary, its command line, its documentation, and a client in Python.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod architecture;
mod as_it_stands;
mod auth;
// Tests of the service by gRPC use more of it.
#[allow(dead_code)]
#[path = "../api/harness/authority.rs"]
mod authority;
mod client;
mod collector;
mod configuration_page;
mod contract;
mod doc_page;
mod doc_pages;
#[path = "../prose/idioms.rs"]
mod idioms;
mod limits;
mod log_limit;
mod log_lines;
mod metrics_page;
mod otlp;
mod pages;
mod process;
mod prose;
mod python;
mod readme;
mod scripts;
mod serve;
mod shell;
mod stop;
mod symptoms;
mod tls;
mod traces;
mod transfer;
mod unix_socket;
