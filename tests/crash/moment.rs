//! When a run is killed.

use std::path::Path;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::support::program::Service;

/// How often conditions are checked.
const POLL: Duration = Duration::from_micros(150);

/// A moment of a run.
#[derive(Debug, Clone)]
pub(crate) enum Moment {
    /// So long after the start.
    After(Duration),
    /// So long after so many more uploads were saved.
    Saved(u32, Duration),
    /// So long after a new file with this in its name exists.
    Made(&'static str, Duration),
}

/// The speed of a pipeline.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Speed {
    /// From the start of the process to the first upload.
    pub(crate) start: Duration,
    /// From one upload to the next.
    pub(crate) batch: Duration,
}

impl Moment {
    /// A random moment of a run with about `batches` batches left.
    pub(crate) fn draw(rng: &mut StdRng, speed: Speed, batches: u32) -> Self {
        let little = |rng: &mut StdRng| speed.batch.mul_f64(rng.random::<f64>() * rng.random::<f64>());
        match rng.random_range(0..100) {
            // Starting: settings, locks, the ledger, reading.
            0..20 => Self::After(speed.start.mul_f64(rng.random())),
            // Sending: mostly early, so that much is left for later runs.
            20..45 => {
                let batches = -6.0 * (1.0 - rng.random::<f64>()).ln();
                Self::After(speed.start + speed.batch.mul_f64(batches))
            }
            // Accepted, and most often not recorded yet.
            45..75 => Self::Saved(rng.random_range(1..8), little(rng)),
            // Anywhere, the end included.
            75..85 => {
                let total = speed.start + speed.batch * batches + Duration::from_millis(20);
                Self::After(total.mul_f64(rng.random::<f64>() * 1.2))
            }
            // When temporary files appear.
            85..92 => {
                let names = ["-wal", "-shm", "pipeline-", "job-", ".ndjson"];
                Self::Made(names[rng.random_range(0..names.len())], little(rng))
            }
            // Around the report and the record of the run's end.
            _ => Self::Made(".part", Duration::from_micros(rng.random_range(0..400))),
        }
    }

    /// A random moment while the ledger is created.
    pub(crate) fn at_creation(rng: &mut StdRng) -> Self {
        let names = [
            ".hrsink",
            "new.lock",
            "state.db.new",
            "state.db.new-journal",
            "state.db.new-wal",
            "state.db.key.new",
            "state.db.key",
            "state.db",
            "state.db-wal",
            "pipeline-",
            "job-",
            "rejects",
        ];
        let later = Duration::from_micros(rng.random_range(0..3_000)).mul_f64(rng.random());
        Self::Made(names[rng.random_range(0..names.len())], later)
    }

    /// Waits for it; false if the run `ended` before.
    pub(crate) fn wait(&self, folder: &Path, service: &Service, mut ended: impl FnMut() -> bool) -> bool {
        let begun = Instant::now();
        let mut size = service.log_size();
        let mut saved = 0;
        let before = names(folder);
        loop {
            if ended() {
                return false;
            }
            let later = match self {
                Self::After(time) if begun.elapsed() >= *time => Some(Duration::ZERO),
                Self::Saved(wanted, later) => {
                    let now = service.log_size();
                    saved += u32::from(now > size);
                    size = now;
                    (saved >= *wanted).then_some(*later)
                }
                Self::Made(part, later) => {
                    let is_new = |name: &String| name.contains(part) && !before.contains(name);
                    names(folder).iter().any(is_new).then_some(*later)
                }
                Self::After(_) => None,
            };
            if let Some(later) = later {
                // Too short for a sleep.
                let until = Instant::now() + later;
                while Instant::now() < until {
                    std::hint::spin_loop();
                }
                return !ended();
            }
            assert!(
                begun.elapsed() < Duration::from_secs(120),
                "a run hangs: {self:?}"
            );
            std::thread::sleep(POLL);
        }
    }
}

/// Files in the folders where a run creates some.
fn names(folder: &Path) -> Vec<String> {
    let folders = [
        "",
        "reports",
        ".hrsink",
        ".hrsink/state.db.locks",
        ".hrsink/rejects",
    ];
    let entries = folders
        .iter()
        .filter_map(|name| std::fs::read_dir(folder.join(name)).ok());
    entries
        .flat_map(|entries| entries.flatten())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// The random numbers of a campaign.
pub(crate) fn random(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}
