//! `config-examples/sftp-csv.yaml`, unchanged.

use crate::pipeline::{EXPORT, age, example, program, serving};
use crate::sshd::me;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_the_example() {
    let name = "outbound/terminations-20260304.csv";
    let Some((sshd, _)) = serving(name, EXPORT) else {
        return;
    };
    age(&sshd.path("files").join(name));
    let folder = example(&sshd, "sftp-csv.yaml");
    let environment = [
        ("SFTP_HOST", format!("127.0.0.1:{}", sshd.port)),
        ("SFTP_FOLDER", sshd.path("files/outbound").display().to_string()),
        ("SFTP_USER", me()),
        ("SFTP_KEY_FILE", sshd.path("login").display().to_string()),
    ];
    // Files are read once.
    for (key, rows) in [("accepted", 2), ("read", 0)] {
        let (code, report, told) = program(folder.path(), "sftp-csv.yaml", &environment);
        assert_eq!(code, 0, "{told}");
        assert_eq!(report["rows"][key], rows, "{report:#}");
    }
}
