//! When a run is killed.

use std::path::Path;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::common::program::Service;

/// How often is looked.
const LOOK: Duration = Duration::from_micros(150);

/// A moment in the life of a run.
#[derive(Debug, Clone)]
pub(crate) enum Moment {
    /// So long after its start.
    After(Duration),
    /// When so many more uploads were saved, and a little later.
    Saved(u32, Duration),
    /// When a file with this in its name is there that was not, and a little later.
    Made(&'static str, Duration),
}

/// How fast a pipeline is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// From the start of the process to the first upload.
    pub(crate) start: Duration,
    /// From one upload to the next.
    pub(crate) batch: Duration,
}

impl Moment {
    /// One of a run that has about `batches` batches before it.
    pub(crate) fn draw(rng: &mut StdRng, pace: Pace, batches: u32) -> Self {
        let little = |rng: &mut StdRng| pace.batch.mul_f64(rng.random::<f64>() * rng.random::<f64>());
        match rng.random_range(0..100) {
            // Starting: settings, locks, the ledger, reading.
            0..20 => Self::After(pace.start.mul_f64(rng.random())),
            // Under way: most of them soon, so that much is left for later.
            20..45 => {
                let batches = -6.0 * (1.0 - rng.random::<f64>()).ln();
                Self::After(pace.start + pace.batch.mul_f64(batches))
            }
            // Taken, and most often not yet written down.
            45..75 => Self::Saved(rng.random_range(1..8), little(rng)),
            // Anywhere, the end included.
            75..85 => {
                let whole = pace.start + pace.batch * batches + Duration::from_millis(20);
                Self::After(whole.mul_f64(rng.random::<f64>() * 1.2))
            }
            // At files that come and go.
            85..92 => {
                let names = ["-wal", "-shm", "pipeline-", "job-", ".ndjson"];
                Self::Made(names[rng.random_range(0..names.len())], little(rng))
            }
            // The report: the run's end is in the ledger, or is not.
            _ => Self::Made(".part", Duration::from_micros(rng.random_range(0..400))),
        }
    }

    /// One while the ledger is made for the first time.
    pub(crate) fn at_birth(rng: &mut StdRng) -> Self {
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

    /// Waits for it; false if `ended` said before that there is nothing to wait for.
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
                // Shorter than what a sleep is good for.
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
            std::thread::sleep(LOOK);
        }
    }
}

/// Files in the places where a run makes some.
fn names(folder: &Path) -> Vec<String> {
    let places = [
        "",
        "reports",
        ".hrsink",
        ".hrsink/state.db.locks",
        ".hrsink/rejects",
    ];
    let entries = places
        .iter()
        .filter_map(|place| std::fs::read_dir(folder.join(place)).ok());
    entries
        .flat_map(|entries| entries.flatten())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// The numbers that a campaign draws.
pub(crate) fn random(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}
