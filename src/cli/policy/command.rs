//! `twintier policy`: lists the policies of namespaces, changes them at run time in the whole
//! fleet.

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::fields::{FieldChange, given, merged, parse_change};
use crate::cli::args::{OutputFormat, ServerArgs};
use crate::cli::connection::{ServiceConnection, admin};
use crate::cli::error::CliError;
use crate::cli::output::{Output, json_text};
use crate::cli::table;
use crate::pb;

/// `twintier policy ...`
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Show the policies: of one namespace in full, or what was changed at run time in all
    List(ListArgs),
    /// Change fields of a policy, in the whole fleet and beyond restarts
    Set(SetArgs),
    /// Reset everything that was changed at run time
    Reset(ResetArgs),
}

/// Arguments of `policy list`.
#[derive(Args, Debug)]
pub struct ListArgs {
    /// Show only this namespace, in full
    #[arg(short, long, value_name = "NAME", env = "TWINTIER_NAMESPACE")]
    namespace: Option<String>,
    #[command(flatten)]
    pub(super) server: ServerArgs,
}

/// Arguments of `policy set`.
#[derive(Args, Debug)]
#[command(after_help = "For example: twintier policy set -n sessions l1=false max_ttl=1h")]
pub struct SetArgs {
    /// Changes, for example enabled=false, default_ttl=5m or compression=zstd
    #[arg(required = true, value_name = "FIELD=VALUE", value_parser = parse_change)]
    changes: Vec<FieldChange>,
    #[command(flatten)]
    subject: SubjectArgs,
    #[command(flatten)]
    pub(super) server: ServerArgs,
}

/// Arguments of `policy reset`.
#[derive(Args, Debug)]
pub struct ResetArgs {
    #[command(flatten)]
    subject: SubjectArgs,
    #[command(flatten)]
    pub(super) server: ServerArgs,
}

/// Namespace or the whole service. No default: a switch on the wrong one is an outage.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct SubjectArgs {
    /// Namespace
    #[arg(short, long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    namespace: Option<String>,
    /// The whole service, of which only enabled, l1 and l2 can be changed
    #[arg(long)]
    service: bool,
}

// === impl PolicyCommand ===

impl PolicyCommand {
    pub(crate) fn server(&self) -> &ServerArgs {
        match self {
            PolicyCommand::List(args) => &args.server,
            PolicyCommand::Set(args) => &args.server,
            PolicyCommand::Reset(args) => &args.server,
        }
    }

    pub(crate) async fn run(self) -> Result<Output, CliError> {
        match self {
            PolicyCommand::List(args) => args.run().await,
            PolicyCommand::Set(args) => args.run().await,
            PolicyCommand::Reset(args) => args.run().await,
        }
    }
}

impl ListArgs {
    async fn run(self) -> Result<Output, CliError> {
        let request = pb::ListPoliciesRequest { namespace: self.namespace.clone().unwrap_or_default() };
        let listed = ServiceConnection::new(&self.server)?
            .call(request, async |channel, request| admin(channel).list_policies(request).await)
            .await?;
        let out = match (self.server.output, self.namespace) {
            (OutputFormat::Json, _) => json_text(&json!({
                "service": listed.service.as_ref().map(document),
                "namespaces": listed.namespaces.iter().map(document).collect::<Vec<_>>(),
            })),
            (OutputFormat::Text, Some(_)) => listed.namespaces.iter().map(in_full).collect::<String>().into_bytes(),
            (OutputFormat::Text, None) => overview(&listed).into_bytes(),
        };
        Ok(Output { out, ..Output::default() })
    }
}

impl SetArgs {
    async fn run(self) -> Result<Output, CliError> {
        let namespace = self.subject.namespace.unwrap_or_default();
        let policy =
            Some(self.changes.into_iter().fold(pb::Policy::default(), |whole, FieldChange(one)| merged(whole, one)));
        let request = pb::SetPolicyRequest { namespace, policy };
        let response = ServiceConnection::new(&self.server)?
            .call(request, async |channel, request| admin(channel).set_policy(request).await)
            .await?;
        Ok(changed(&response.policy.unwrap_or_default(), self.server.output))
    }
}

impl ResetArgs {
    async fn run(self) -> Result<Output, CliError> {
        let request = pb::ResetPolicyRequest { namespace: self.subject.namespace.unwrap_or_default() };
        let response = ServiceConnection::new(&self.server)?
            .call(request, async |channel, request| admin(channel).reset_policy(request).await)
            .await?;
        Ok(changed(&response.policy.unwrap_or_default(), self.server.output))
    }
}

// === what is shown ===

fn changed(policy: &pb::NamespacePolicy, output: OutputFormat) -> Output {
    let out = match output {
        OutputFormat::Json => json_text(&document(policy)),
        OutputFormat::Text => format!("{}: {}\n", subject(policy), assignments(policy.changed.as_ref())).into_bytes(),
    };
    Output { out, ..Output::default() }
}

fn subject(policy: &pb::NamespacePolicy) -> &str {
    if policy.namespace.is_empty() { "(service)" } else { &policy.namespace }
}

fn assignments(changed: Option<&pb::Policy>) -> String {
    let given = given(changed.unwrap_or(&pb::Policy::default()));
    if given.is_empty() {
        "as configured".to_owned()
    } else {
        given.iter().map(|(field, value, _)| format!("{field}={value}")).collect::<Vec<_>>().join(" ")
    }
}

/// Formats a line of changes for the service and each namespace.
fn overview(listed: &pb::ListPoliciesResponse) -> String {
    let all: Vec<_> = listed.service.iter().chain(&listed.namespaces).collect();
    let rows: Vec<_> = all.iter().map(|policy| (subject(policy), assignments(policy.changed.as_ref()))).collect();
    table::facts(&rows)
}

/// Formats every field of one policy.
fn in_full(policy: &pb::NamespacePolicy) -> String {
    let changed = given(policy.changed.as_ref().unwrap_or(&pb::Policy::default()));
    let is_changed = |field: &str| changed.iter().any(|(changed, _, _)| *changed == field);
    let fields = given(policy.policy.as_ref().unwrap_or(&pb::Policy::default()));
    let rows: Vec<_> = fields
        .into_iter()
        .map(|(field, value, _)| (field, if is_changed(field) { format!("{value} (changed)") } else { value }))
        .collect();
    table::facts(&rows)
}

fn document(policy: &pb::NamespacePolicy) -> Value {
    let fields = |policy: Option<&pb::Policy>| -> Map<String, Value> {
        let given = policy.map(given).unwrap_or_default();
        given.into_iter().map(|(field, _, value)| (field.to_owned(), value)).collect()
    };
    json!({
        "namespace": policy.namespace,
        "policy": fields(policy.policy.as_ref()),
        "changed": fields(policy.changed.as_ref()),
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        command: PolicyCommand,
    }

    fn parse(args: &[&str]) -> Result<PolicyCommand, clap::Error> {
        Line::try_parse_from([&["policy"], args].concat()).map(|line| line.command)
    }

    #[test]
    fn a_namespace_or_the_service_has_to_be_named() {
        assert!(parse(&["set", "enabled=false"]).is_err() && parse(&["reset"]).is_err());
        assert!(parse(&["set", "enabled=false", "--service", "-n", "a"]).is_err());
        assert!(parse(&["set", "-n", "a"]).is_err());
        assert!(parse(&["set", "-n", "a", "l1=off", "l2=on"]).is_ok() && parse(&["reset", "--service"]).is_ok());
        assert!(parse(&["list"]).is_ok());
    }

    #[test]
    fn what_was_changed_is_shown_a_line_each() {
        let policy = |namespace: &str, changed| pb::NamespacePolicy {
            namespace: namespace.to_owned(),
            policy: Some(pb::Policy { enabled: Some(true), l1: Some(false), ..Default::default() }),
            changed: Some(changed),
        };
        let listed = pb::ListPoliciesResponse {
            service: Some(policy("", pb::Policy::default())),
            namespaces: vec![policy("sessions", pb::Policy { l1: Some(false), ..Default::default() })],
        };
        assert_eq!(overview(&listed), "(service)  as configured\nsessions   l1=false\n");
        assert_eq!(in_full(&listed.namespaces[0]), "enabled  true\nl1       false (changed)\n");
        assert_eq!(document(&listed.namespaces[0])["changed"], json!({ "l1": false }));
    }
}
