//! Looks at this replica once a second, keeps the last minutes, and tells whoever watches. The fleet is asked only while somebody does.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::diagnosis::{Finding, Steady};
use super::fleet::FleetView;
use super::history::{FIELDS, History};
use super::sample::Sample;
use super::sources::{FleetQuery, KeyNames};
use super::{diagnosis, snapshot};
use crate::cache::fleet::replica::ReplicaHandles;
use crate::cache::stats::hot_keys::HotKey;

/// Pause between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// Looks that a diagnosis spans, at least; at most twice as many.
const SPAN: usize = 4;
/// How often the fleet is asked.
const FLEET_EVERY: Duration = Duration::from_secs(2);
/// Keys that are shown.
const HOT_KEYS: usize = 10;

/// The memory of the dashboard.
pub struct Recorder {
    observed: Arc<ReplicaHandles>,
    fleet: FleetQuery,
    keys: KeyNames,
    recorded: Mutex<Recorded>,
    ticks: watch::Sender<Bytes>,
    begun: Notify,
}

struct Recorded {
    history: History,
    latest: Sample,
    /// Samples that a diagnosis begins at: one that is old enough, and the one that will be.
    anchor: Sample,
    next_anchor: Sample,
    looks: usize,
    fleet: FleetView,
    steady: Steady,
    /// Findings as they were told after the latest look.
    findings: Vec<Finding>,
}

// === impl Recorder ===

impl Recorder {
    /// Nothing is known yet but how things are now.
    pub fn new(observed: Arc<ReplicaHandles>, fleet: FleetQuery, keys: KeyNames) -> Recorder {
        let latest = Sample::of(&observed);
        let (anchor, next_anchor) = (latest.clone(), latest.clone());
        let recorded = Recorded {
            history: History::default(),
            latest,
            anchor,
            next_anchor,
            looks: 0,
            fleet: FleetView::default(),
            steady: Steady::default(),
            findings: Vec::new(),
        };
        let (ticks, _) = watch::channel(Bytes::new());
        Recorder { observed, fleet, keys, recorded: Mutex::new(recorded), ticks, begun: Notify::new() }
    }

    /// Looks and tells, for ever.
    pub async fn run(self: Arc<Self>) {
        tokio::join!(self.go_on_looking(), self.ask_fleet());
    }

    /// What was until now, and a channel for what comes. Work for milliseconds where there are many namespaces.
    pub fn watch(&self) -> (Bytes, watch::Receiver<Bytes>) {
        let ticks = self.ticks.subscribe();
        self.begun.notify_one();
        let recorded = self.lock();
        let hello = json!({
            "replica": {
                "id": self.observed.replica.id,
                "version": env!("CARGO_PKG_VERSION"),
                "started": snapshot::millis(self.observed.replica.started),
            },
            "keys": if self.keys == KeyNames::Clear { "clear" } else { "hashed" },
            "fields": FIELDS,
            "points": recorded.history.points(),
            "namespaces": recorded.history.namespaces(),
            "now": self.render(&recorded),
        });
        (event("hello", &hello), ticks)
    }

    async fn go_on_looking(self: &Arc<Self>) {
        let mut clock = interval(EVERY);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first comes at once, and a look was taken already.
        clock.tick().await;
        loop {
            clock.tick().await;
            let recorder = self.clone();
            // The more namespaces, the longer it takes: not for a worker of the runtime.
            let _ = spawn_blocking(move || recorder.look()).await;
        }
    }

    fn look(&self) {
        let now = Sample::of(&self.observed);
        let mut recorded = self.lock();
        recorded.take(now);
        self.diagnose(&mut recorded);
        if self.ticks.receiver_count() > 0 {
            self.ticks.send_replace(event("tick", &self.render(&recorded)));
        }
    }

    async fn ask_fleet(&self) {
        loop {
            if self.ticks.receiver_count() > 0 {
                let fleet = (self.fleet)().await;
                self.lock().fleet.take(fleet, self.observed.clock.now());
            }
            tokio::select! {
                () = sleep(FLEET_EVERY) => {}
                () = self.begun.notified() => {}
            }
        }
    }

    fn render(&self, recorded: &Recorded) -> Value {
        let hot: Vec<_> = self.observed.cache.hot_keys(HOT_KEYS, None).iter().map(|hot| self.shown(hot)).collect();
        let own_proof = recorded.latest.coherence.proof_age;
        snapshot::tick(&snapshot::SnapshotInput {
            before: &recorded.anchor,
            now: &recorded.latest,
            history: &recorded.history,
            fleet: recorded.fleet.rows(&self.observed.replica.id, own_proof, self.observed.clock.now()),
            findings: &recorded.findings,
            hot: &hot,
        })
    }

    /// Says what is wrong now. What the others said last is old while nobody watches.
    fn diagnose(&self, recorded: &mut Recorded) {
        let hottest = self.observed.cache.hot_keys(1, None).first().map(|hot| self.shown(hot));
        let watched = self.ticks.receiver_count() > 0;
        let found = diagnosis::findings(&diagnosis::Signs {
            before: &recorded.anchor,
            now: &recorded.latest,
            usual: recorded.history.usual_redis(),
            fleet: if watched { recorded.fleet.heard() } else { &[] },
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
        let shown = match self.keys {
            KeyNames::Hashed => format!("#{:016x}", hot.key.as_ref().digest()),
            KeyNames::Clear => hot.key.bytes().escape_ascii().to_string(),
        };
        snapshot::Hot { shown, namespace: hot.key.namespace().name().to_owned(), rate: hot.rate }
    }

    fn lock(&self) -> MutexGuard<'_, Recorded> {
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Recorded ===

impl Recorded {
    fn take(&mut self, now: Sample) {
        self.history.add(&self.latest, &now);
        self.latest = now;
        self.looks += 1;
        if self.looks.is_multiple_of(SPAN) {
            self.anchor = std::mem::replace(&mut self.next_anchor, self.latest.clone());
        }
    }
}

fn event(name: &str, data: &Value) -> Bytes {
    format!("event: {name}\ndata: {data}\n\n").into()
}
