//! Reads the configuration again when a file has other content or SIGHUP comes.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{io, thread};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::auth::part as auth_part;
use super::changes::need_restart;
use super::part::Part;
use super::server_tls::{ServerTls, part as tls_part};
use super::watched_files::{Digests, digest, digests, of_config};
use crate::auth::Authority;
use crate::cache::stats::SecurityStats;
use crate::config::{Config, Loaded, Problems, Setting, Sources};

/// Pause until files count as written completely: while they still change, it is repeated.
const SETTLE_PAUSE: Duration = Duration::from_millis(100);
/// Most such pauses.
const MAX_SETTLE_PAUSES: u32 = 20;

/// How the configuration was read at the start, and the signal that reads it again.
pub struct Reload {
    sources: Sources,
    settings: Vec<Setting>,
    hangups: Signal,
}

/// Reads the configuration again, and puts it into effect.
pub struct Reloader {
    sources: Sources,
    /// The settings of the start.
    settings: Vec<Setting>,
    has_tls: bool,
    parts: Vec<Part>,
    stats: Arc<SecurityStats>,
    /// Has the audit log. `None` until it is added.
    authority: Option<Arc<Authority>>,
    interval: Duration,
    /// The files of the configuration in effect.
    in_effect: BTreeSet<PathBuf>,
    /// The files of it and of the last configuration that was read, as they were before that.
    seen: Digests,
}

/// Trigger of a look at the files.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trigger {
    Interval,
    Hangup,
}

// === impl Reload ===

impl Reload {
    /// Listens to SIGHUP, which from now on does not end the process.
    pub fn new(sources: Sources, settings: Vec<Setting>) -> io::Result<Reload> {
        Ok(Reload { sources, settings, hangups: signal(SignalKind::hangup())? })
    }

    /// Creates the reloader of a service that starts. Call it before the files of the configuration are read:
    /// what changes from then on is noticed.
    pub fn reloader(self, config: &Config, stats: Arc<SecurityStats>) -> (Reloader, Signal) {
        let Reload { sources, settings, hangups } = self;
        let (interval, in_effect) = (config.reload_interval, of_config(config));
        let has_tls = config.tls.is_some();
        let files = in_effect.iter().cloned().chain(sources.config_file()).collect();
        let seen = digests(&files);
        let parts = Vec::new();
        (Reloader { sources, settings, has_tls, parts, stats, authority: None, interval, in_effect, seen }, hangups)
    }
}

// === impl Reloader ===

impl Reloader {
    /// Adds a part that a reload changes.
    pub fn add(&mut self, part: Part) {
        self.parts.push(part);
    }

    /// Adds TLS of the servers, if there is any.
    pub fn add_tls(&mut self, tls: &ServerTls) {
        if let Some(tls) = tls {
            self.add(tls_part(tls.clone(), self.stats.clone()));
        }
    }

    /// Adds identities and grants. Their audit log gets a line for each reload.
    pub fn add_authority(&mut self, authority: &Arc<Authority>) {
        self.add(auth_part(authority.clone()));
        self.authority = Some(authority.clone());
    }

    /// Looks at the files at an interval and at each SIGHUP, until it is dropped.
    pub async fn run(mut self, mut hangups: Signal) {
        loop {
            let cause = tokio::select! {
                () = sleep(self.interval) => Trigger::Interval,
                Some(()) = hangups.recv() => Trigger::Hangup,
            };
            // Files of a network may take their time.
            let looked = spawn_blocking(move || {
                self.look(cause);
                self
            });
            match looked.await {
                Ok(reloader) => self = reloader,
                Err(error) => {
                    tracing::error!(%error, "reload panicked: changes need a restart from now on");
                    return;
                }
            }
        }
    }

    fn look(&mut self, cause: Trigger) {
        let mut found = self.digests();
        if cause == Trigger::Interval {
            if found == self.seen {
                return;
            }
            found = self.settled(found);
        }
        self.seen = found;
        match self.reload() {
            Ok(()) => {
                self.stats.counters.reloads.inc();
                self.audit("applied", "");
                tracing::info!("configuration reloaded");
            }
            Err(problems) => {
                self.stats.counters.reloads_failed.inc();
                self.audit("refused", &problems.to_string());
                tracing::error!(%problems, "reload failed: the configuration before it stays in effect");
            }
        }
    }

    fn audit(&self, result: &str, cause: &str) {
        if let Some(authority) = &self.authority {
            authority.audit().reload(result, cause);
        }
    }

    /// Waits until the files do not change any more: a certificate and its key are two files.
    fn settled(&self, mut found: Digests) -> Digests {
        for _ in 0..MAX_SETTLE_PAUSES {
            thread::sleep(SETTLE_PAUSE);
            let next = self.digests();
            if next == found {
                break;
            }
            found = next;
        }
        found
    }

    /// Reads the configuration and puts it into effect, all of it or nothing.
    fn reload(&mut self) -> Result<(), Problems> {
        let Loaded { config, settings, .. } = Config::load(&self.sources)?;
        let named = of_config(&config);
        let files: BTreeSet<_> =
            self.in_effect.iter().chain(&named).cloned().chain(self.sources.config_file()).collect();
        self.seen.retain(|file, _| files.contains(file));
        for file in files {
            let digest = digest(&file);
            self.seen.entry(file).or_insert(digest);
        }
        let prepared: Result<Vec<_>, _> = self.parts.iter().map(|part| part(&config)).collect();
        prepared?.into_iter().for_each(|commit| commit());
        self.interval = config.reload_interval;
        self.in_effect = named;
        let waiting = need_restart(&self.settings, &settings, self.has_tls);
        if !waiting.is_empty() {
            tracing::warn!(settings = waiting.join(", "), "reload: these settings take effect after a restart");
        }
        Ok(())
    }

    fn digests(&self) -> Digests {
        digests(&self.seen.keys().cloned().collect())
    }
}
