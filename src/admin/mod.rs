//! HTTP for probes, metrics and people: `/livez`, `/readyz`, `/metrics`, and the dashboard with its events. It reads and changes
//! nothing: GET and HEAD only, no cookies, no word to other origins.

mod diagnosis;
mod events;
mod fleet;
mod health;
mod history;
mod http;
mod page;
mod recorder;
mod sample;
mod serve;
mod snapshot;
mod sources;

pub use http::{Admin, AdminConfig};
pub use sources::{AdminSources, FleetQuery, KeyNames, MetricsText};
