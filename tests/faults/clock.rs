//! A wall clock that a test moves, for processes started with it.

use std::os::unix::fs::FileExt as _;
use std::process::Command;

use tempfile::TempDir;

/// The clock of one or more processes.
pub struct WallClock {
    directory: TempDir,
    file: std::fs::File,
}

impl WallClock {
    pub fn new() -> WallClock {
        let directory = tempfile::Builder::new().prefix("twintier-clock-").tempdir().unwrap();
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/clock.c");
        let library = directory.path().join("clock.so");
        let built = Command::new("cc").args(["-shared", "-fPIC", "-O1", source, "-ldl", "-o"]).arg(library).status();
        assert!(built.unwrap().success());
        let file = std::fs::File::create(directory.path().join("jump")).unwrap();
        let clock = WallClock { directory, file };
        clock.set_offset(0);
        clock
    }

    /// Sets the clock this many seconds off.
    pub fn set_offset(&self, seconds: i64) {
        self.file.write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
    }

    /// Environment variables of a process with this clock.
    pub fn environment(&self) -> [(String, String); 2] {
        let path = |name| self.directory.path().join(name).to_str().unwrap().to_owned();
        [("LD_PRELOAD".into(), path("clock.so")), ("CLOCK_FILE".into(), path("jump"))]
    }
}
