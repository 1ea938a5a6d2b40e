//! The program as its users meet it: the built binary, its command line, its papers, and a client in another language.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../api/harness/authority.rs"]
mod authority;
mod client;
mod collector;
mod configuration_page;
mod log_limit;
mod metrics_page;
mod otlp;
mod pages;
mod paper;
mod papers;
mod process;
mod python;
mod readme;
mod serve;
mod stop;
mod symptoms;
mod traces;
