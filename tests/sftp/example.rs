//! `config-examples/sftp-csv.yaml`, as it stands there.

use crate::needs_sshd;
use crate::pipeline::program;
use crate::sshd::{Sshd, me};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_the_example() {
    needs_sshd!();
    let sshd = Sshd::start();
    let export = concat!(
        "employee_id,work_email,status,resign_date,last_day\r\n",
        "1,Adele.Vance@contoso.com,Terminated,2026-03-02,2026-03-31\r\n",
        "2,alex.wilber@contoso.com,Active,,\r\n",
        "3,diego.siciliani@contoso.com,Terminated,2026-03-03,2026-04-30\r\n",
    );
    let path = sshd.write("outbound/terminations-20260304.csv", export);
    // Written longer ago than the example waits for.
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    let file = std::fs::File::options().append(true).open(&path).unwrap();
    file.set_modified(long_ago).unwrap();
    let key = sshd.login_key("login", &["-t", "ed25519", "-N", ""]);
    let folder = tempfile::tempdir().unwrap();
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/config-examples/sftp-csv.yaml");
    std::fs::copy(example, folder.path().join("sftp-csv.yaml")).unwrap();
    let known = format!("[127.0.0.1]:{} {}\n", sshd.port, sshd.host_key("ed25519"));
    std::fs::write(folder.path().join("known_hosts"), known).unwrap();
    let run = || {
        program(
            folder.path(),
            "sftp-csv.yaml",
            &[
                ("SFTP_HOST", format!("127.0.0.1:{}", sshd.port)),
                ("SFTP_FOLDER", sshd.path("files/outbound").display().to_string()),
                ("SFTP_USER", me()),
                ("SFTP_KEY_FILE", key.display().to_string()),
            ],
        )
    };
    let (code, report, told) = run();
    assert_eq!(code, 0, "{told}");
    assert_eq!(report["rows"]["accepted"], 2, "{report:#}");
    // What was read is not read again.
    let (code, report, told) = run();
    assert_eq!(code, 0, "{told}");
    assert_eq!(report["rows"]["read"], 0, "{report:#}");
}
