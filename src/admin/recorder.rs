//! Recorder: samples this replica every second, keeps the last minutes, and publishes events. The
//! fleet is queried only while a dashboard is open.

use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::diagnosis::{Finding, Steady};
use super::fleet::FleetView;
use super::history::{FIELDS, History};
use super::sources::FleetQuery;
use super::{diagnosis, snapshot};
use crate::cache::fleet::replica::ReplicaHandles;
use crate::cache::fleet::report::ReplicaReport;
use crate::cache::key_form::KeyForm;
use crate::cache::stats::hot_keys::HotKey;
use crate::sync::Mutex;

/// Pause between two samples.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
/// Least number of samples that a diagnosis spans; at most twice as many.
const MIN_DIAGNOSIS_SAMPLES: usize = 4;
/// Pause between two queries of the fleet.
const FLEET_INTERVAL: Duration = Duration::from_secs(2);
/// Number of hot keys on the dashboard.
const MAX_HOT_KEYS: usize = 10;

/// Recorded state of the dashboard.
pub struct Recorder {
    observed: Arc<ReplicaHandles>,
    fleet: FleetQuery,
    keys: KeyForm,
    recorded: Mutex<Recorded>,
    ticks: watch::Sender<Bytes>,
    opened: Notify,
}

struct Recorded {
    history: History,
    latest: ReplicaReport,
    /// Samples that a diagnosis starts from: the current one, and its successor.
    anchor: ReplicaReport,
    next_anchor: ReplicaReport,
    samples: usize,
    fleet: FleetView,
    steady: Steady,
    /// Findings of the latest sample, after smoothing.
    findings: Vec<Finding>,
}

// === impl Recorder ===

impl Recorder {
    /// Creates a recorder that knows only the present.
    pub fn new(observed: Arc<ReplicaHandles>, fleet: FleetQuery, keys: KeyForm) -> Recorder {
        let latest = read(&observed);
        let (anchor, next_anchor) = (latest.clone(), latest.clone());
        let recorded = Recorded {
            history: History::default(),
            latest,
            anchor,
            next_anchor,
            samples: 0,
            fleet: FleetView::default(),
            steady: Steady::default(),
            findings: Vec::new(),
        };
        let (ticks, _) = watch::channel(Bytes::new());
        Recorder { observed, fleet, keys, recorded: Mutex::new(recorded), ticks, opened: Notify::new() }
    }

    /// Samples and publishes until dropped.
    pub async fn run(self: Arc<Self>) {
        tokio::join!(self.sample_forever(), self.query_fleet());
    }

    /// Returns the past as an event, and a channel of events to come. Takes milliseconds with many
    /// namespaces.
    pub fn watch(&self) -> (Bytes, watch::Receiver<Bytes>) {
        let ticks = self.ticks.subscribe();
        self.opened.notify_one();
        let recorded = self.lock();
        let hello = json!({
            "replica": {
                "id": self.observed.replica.id,
                "version": env!("CARGO_PKG_VERSION"),
                "started": snapshot::millis(self.observed.replica.started),
            },
            "keys": if self.keys == KeyForm::Clear { "clear" } else { "hashed" },
            "fields": FIELDS,
            "points": recorded.history.points(),
            "namespaces": recorded.history.namespaces(),
            "now": self.render(&recorded, &recorded.lately()),
        });
        (event("hello", &hello), ticks)
    }

    async fn sample_forever(self: &Arc<Self>) {
        let mut clock = interval(SAMPLE_INTERVAL);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick is immediate, and a sample was taken already.
        clock.tick().await;
        loop {
            clock.tick().await;
            let recorder = self.clone();
            // It takes longer with more namespaces: too long for a worker of the runtime.
            let _ = spawn_blocking(move || recorder.sample()).await;
        }
    }

    fn sample(&self) {
        let now = read(&self.observed);
        let mut recorded = self.lock();
        recorded.take(now);
        let lately = recorded.lately();
        self.diagnose(&mut recorded, &lately);
        if self.ticks.receiver_count() > 0 {
            self.ticks.send_replace(event("tick", &self.render(&recorded, &lately)));
        }
    }

    async fn query_fleet(&self) {
        loop {
            if self.ticks.receiver_count() > 0 {
                let fleet = (self.fleet)().await;
                self.lock().fleet.take(fleet, self.observed.clock.now());
            }
            tokio::select! {
                () = sleep(FLEET_INTERVAL) => {}
                () = self.opened.notified() => {}
            }
        }
    }

    fn render(&self, recorded: &Recorded, lately: &ReplicaReport) -> Value {
        let hot: Vec<_> = self.observed.cache.hot_keys(MAX_HOT_KEYS, None).iter().map(|hot| self.shown(hot)).collect();
        let own_proof = recorded.latest.coherence.proof_age;
        snapshot::tick(&snapshot::SnapshotInput {
            now: &recorded.latest,
            lately,
            seconds: recorded.latest.seconds_since(&recorded.anchor),
            history: &recorded.history,
            fleet: recorded.fleet.rows(&self.observed.replica.id, own_proof, self.observed.clock.now()),
            findings: &recorded.findings,
            hot: &hot,
        })
    }

    /// Updates the findings. Without an open dashboard the fleet is left out: what is known of it
    /// is old.
    fn diagnose(&self, recorded: &mut Recorded, lately: &ReplicaReport) {
        let hottest = self.observed.cache.hot_keys(1, None).first().map(|hot| self.shown(hot));
        let watched = self.ticks.receiver_count() > 0;
        let found = diagnosis::findings(&diagnosis::Signs {
            before: &recorded.anchor,
            now: &recorded.latest,
            lately,
            usual: recorded.history.usual_redis(),
            fleet: if watched { recorded.fleet.replicas() } else { &[] },
            own: &self.observed.replica.id,
            hottest: hottest.as_ref().map(|hot| diagnosis::Hottest {
                shown: &hot.shown,
                namespace: &hot.namespace,
                rate: hot.rate,
            }),
        });
        recorded.findings = recorded.steady.after(found);
    }

    fn shown(&self, hot: &HotKey) -> snapshot::Hot {
        let shown = self.keys.format(hot.key.as_ref());
        snapshot::Hot { shown, namespace: hot.key.namespace().name().to_owned(), rate: hot.rate }
    }

    fn lock(&self) -> MutexGuard<'_, Recorded> {
        self.recorded.lock()
    }
}

// === impl Recorded ===

impl Recorded {
    /// Returns the report of the seconds that a diagnosis spans.
    fn lately(&self) -> ReplicaReport {
        self.latest.since(&self.anchor)
    }

    fn take(&mut self, now: ReplicaReport) {
        self.history.add(&self.latest, &now);
        self.latest = now;
        self.samples += 1;
        if self.samples.is_multiple_of(MIN_DIAGNOSIS_SAMPLES) {
            self.anchor = std::mem::replace(&mut self.next_anchor, self.latest.clone());
        }
    }
}

/// Reads a replica, without the namespaces that were never used.
fn read(observed: &ReplicaHandles) -> ReplicaReport {
    ReplicaReport::read(observed).of_used_namespaces()
}

fn event(name: &str, data: &Value) -> Bytes {
    format!("event: {name}\ndata: {data}\n\n").into()
}
