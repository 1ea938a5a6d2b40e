//! Builders of requests, and short accessors for responses and errors.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use twintier::pb;

/// The fields of an entry in a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Value(String),
    Negative,
    Miss(pb::MissReason),
}

/// Short accessors for the response of a Get.
pub trait Answer {
    fn seen(&self) -> Seen;
    fn entry(&self) -> Option<&pb::EntryInfo>;

    fn is(&self, value: &str) -> bool {
        self.seen() == Seen::Value(value.to_owned())
    }

    fn miss(&self) -> Option<pb::MissReason> {
        match self.seen() {
            Seen::Miss(reason) => Some(reason),
            _ => None,
        }
    }

    fn tier(&self) -> pb::Tier {
        self.entry().map_or(pb::Tier::Unspecified, pb::EntryInfo::tier)
    }

    fn stale(&self) -> Option<&pb::Stale> {
        self.entry().and_then(|entry| entry.stale.as_ref())
    }

    fn ttl(&self) -> Duration {
        self.entry().and_then(|entry| entry.ttl).map(duration).expect("an entry has a time to live")
    }

    fn age(&self) -> Duration {
        self.entry().and_then(|entry| entry.age).map(duration).expect("an entry has an age")
    }
}

impl Answer for pb::GetResponse {
    fn seen(&self) -> Seen {
        match self.result.as_ref().expect("a Get has a result") {
            pb::get_response::Result::Hit(hit) => Seen::Value(String::from_utf8_lossy(&hit.value).into_owned()),
            pb::get_response::Result::NegativeHit(_) => Seen::Negative,
            pb::get_response::Result::Miss(miss) => Seen::Miss(miss.reason()),
        }
    }

    fn entry(&self) -> Option<&pb::EntryInfo> {
        match self.result.as_ref()? {
            pb::get_response::Result::Hit(hit) => hit.entry.as_ref(),
            pb::get_response::Result::NegativeHit(hit) => hit.entry.as_ref(),
            pb::get_response::Result::Miss(_) => None,
        }
    }
}

/// Short accessors for an error.
pub trait Refusal {
    fn reason(&self) -> String;
    fn retry_delay(&self) -> Option<Duration>;
    /// Field and description of each violation.
    fn violations(&self) -> Vec<(String, String)>;
    /// Asserts that the violations are of exactly these fields, and that each description contains
    /// its text.
    fn assert_violations(&self, expected: &[(&str, &str)]);
}

impl Refusal for Status {
    fn reason(&self) -> String {
        let details = self.get_error_details();
        let info = details.error_info().unwrap_or_else(|| panic!("every error has ErrorInfo: {self:?}"));
        assert_eq!(info.domain, "twintier.dev");
        info.reason.clone()
    }

    fn retry_delay(&self) -> Option<Duration> {
        self.get_error_details().retry_info().and_then(|info| info.retry_delay)
    }

    fn violations(&self) -> Vec<(String, String)> {
        let details = self.get_error_details();
        let fields = details.bad_request().map(|bad| bad.field_violations.clone()).unwrap_or_default();
        fields.into_iter().map(|violation| (violation.field, violation.description)).collect()
    }

    #[track_caller]
    fn assert_violations(&self, expected: &[(&str, &str)]) {
        assert_eq!(self.code(), Code::InvalidArgument, "{self:?}");
        assert_eq!(self.reason(), "INVALID_REQUEST");
        let violations = self.violations();
        let fields: Vec<_> = violations.iter().map(|(field, _)| field.as_str()).collect();
        assert_eq!(fields, expected.iter().map(|(field, _)| *field).collect::<Vec<_>>(), "{violations:?}");
        for ((field, description), (_, text)) in violations.iter().zip(expected) {
            assert!(description.contains(text), "{field}: {description:?} does not contain {text:?}");
        }
    }
}

fn duration(wire: prost_types::Duration) -> Duration {
    Duration::try_from(wire).expect("not negative")
}

pub fn set_request(key: &str, value: &str) -> pb::SetRequest {
    let content = Some(pb::set_request::Content::Value(value.to_owned().into()));
    pb::SetRequest { key: key.into(), content, ..Default::default() }
}

pub fn invalidate_key(key: &str) -> pb::InvalidateRequest {
    let selector = Some(pb::invalidate_request::Selector::Key(key.into()));
    pb::InvalidateRequest { selector, ..Default::default() }
}

pub fn whole_namespace(namespace: &str) -> pb::InvalidateRequest {
    let selector = Some(pb::invalidate_request::Selector::WholeNamespace(pb::WholeNamespace {}));
    pb::InvalidateRequest { namespace: namespace.into(), selector, ..Default::default() }
}
