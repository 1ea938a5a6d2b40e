//! Settings of authentication.

use std::time::Duration;

use crate::config::reader::Reader;

/// Reads the interval at which files are looked at for a reload.
pub(crate) fn read_reload_interval(reader: &mut Reader) -> Duration {
    let bounds = Duration::from_millis(100)..=Duration::from_secs(3600);
    let doc = "interval at which the configuration file, certificates and keys are looked at for other content, which is then applied without a restart; SIGHUP applies it at once";
    reader.duration("auth.reload_interval", Duration::from_secs(10), bounds, doc)
}
