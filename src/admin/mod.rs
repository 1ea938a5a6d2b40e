//! Admin server over HTTP: `/livez`, `/readyz`, `/metrics`, and the dashboard with its events.
//!
//! Read-only: GET and HEAD, no cookies, no requests to other origins.

mod access;
mod diagnosis;
mod events;
mod fleet;
mod health;
mod history;
mod host;
mod http;
mod page;
mod recorder;
mod serve;
mod snapshot;
mod sources;

pub use host::AllowedHosts;
pub use http::{Admin, AdminConfig, AdminListeners};
pub use sources::{AdminSources, FleetQuery, MetricsText};
