//! OpenSSH's server as a child process.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A server on loopback, until dropped.
pub(crate) struct Sshd {
    folder: TempDir,
    pub(crate) port: u16,
    child: Option<Child>,
}

/// Settings of a server.
pub(crate) struct Settings {
    /// Kinds of host keys, as `ssh-keygen -t` has them.
    pub(crate) host_keys: &'static [&'static str],
    /// Further lines of its configuration.
    pub(crate) lines: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            host_keys: &["ed25519"],
            lines: String::new(),
        }
    }
}

const PROGRAM: &str = "/usr/sbin/sshd";

impl Sshd {
    pub(crate) fn start() -> Self {
        Self::with(&Settings::default())
    }

    pub(crate) fn with(settings: &Settings) -> Self {
        assert!(
            Path::new(PROGRAM).exists(),
            "there is no {PROGRAM}: install the package `openssh-server`"
        );
        let folder = tempfile::tempdir().unwrap();
        // Other accounts go through it to their files.
        fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        if is_root() {
            fs::create_dir_all("/run/sshd").unwrap();
        }
        let sshd = Self {
            port: free_port(),
            folder,
            child: None,
        };
        let keys: String = settings
            .host_keys
            .iter()
            .map(|kind| {
                let path = sshd.path(&format!("host_{kind}"));
                keygen(&["-t", kind, "-f", path.to_str().unwrap(), "-N", ""]);
                format!("HostKey {}\n", path.display())
            })
            .collect();
        fs::create_dir(sshd.path("files")).unwrap();
        fs::write(sshd.path("authorized_keys"), "").unwrap();
        let config = format!(
            "Port {}\nListenAddress 127.0.0.1\n{keys}PidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin yes\n\
             AuthorizedKeysFile {}\nKbdInteractiveAuthentication no\nPasswordAuthentication yes\nLogLevel DEBUG1\n\
             MaxStartups 100\nUseDNS no\nSubsystem sftp internal-sftp\n{}\n",
            sshd.port,
            sshd.path("authorized_keys").display(),
            settings.lines,
        );
        fs::write(sshd.path("sshd_config"), config).unwrap();
        let mut sshd = sshd;
        sshd.run();
        sshd
    }

    /// Starts it, once more after [`kill`](Self::kill).
    pub(crate) fn run(&mut self) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.path("log"))
            .unwrap();
        let child = Command::new(PROGRAM)
            .args(["-D", "-e", "-f"])
            .arg(self.path("sshd_config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        let until = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let child = self.child.as_mut().unwrap();
            assert!(child.try_wait().unwrap().is_none(), "sshd ended: {}", self.log());
            assert!(Instant::now() < until, "sshd does not answer: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends it with all its connections, at once.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let sessions = descendants(child.id());
            // First the process that would accept new connections.
            let _ = child.kill();
            let _ = child.wait();
            for id in sessions {
                let _ = Command::new("sh").args(["-c", &format!("kill -9 {id}")]).status();
            }
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file into the folder `files`.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path("files").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// The address of a file or pattern in the folder `files`.
    pub(crate) fn address(&self, name: &str) -> String {
        format!(
            "sftp://127.0.0.1:{}{}/{name}",
            self.port,
            self.path("files").display()
        )
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Lines of the log that hold `text`.
    pub(crate) fn count(&self, text: &str) -> usize {
        self.log().lines().filter(|line| line.contains(text)).count()
    }

    /// Waits until the log has so many lines that hold `text`.
    pub(crate) fn wait_for(&self, text: &str, count: usize) {
        let until = Instant::now() + Duration::from_secs(20);
        while self.count(text) < count {
            assert!(Instant::now() < until, "`{text}` is not in {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The public host key of this kind.
    pub(crate) fn host_key(&self, kind: &str) -> String {
        let line = fs::read_to_string(self.path(&format!("host_{kind}.pub"))).unwrap();
        line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
    }

    /// Its fingerprint, as `ssh-keygen` has it.
    pub(crate) fn fingerprint(&self, kind: &str) -> String {
        let path = self.path(&format!("host_{kind}.pub"));
        let shown = keygen(&["-lf", path.to_str().unwrap()]);
        shown.split_whitespace().nth(1).unwrap().to_owned()
    }

    /// Makes a key that may log in, and gives its path.
    pub(crate) fn login_key(&self, name: &str, args: &[&str]) -> PathBuf {
        let path = self.path(name);
        let mut all = vec!["-f", path.to_str().unwrap()];
        all.extend(args);
        keygen(&all);
        let public = fs::read_to_string(self.path(&format!("{name}.pub"))).unwrap();
        let file = self.path("authorized_keys");
        let known = fs::read_to_string(&file).unwrap();
        fs::write(file, format!("{known}{public}")).unwrap();
        path
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("sshd: {}", self.log());
        }
    }
}

/// An account that is made for a test. Only root can.
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) password: String,
}

impl Account {
    pub(crate) fn make() -> Self {
        let random = uuid::Uuid::new_v4().simple().to_string();
        let account = Self {
            name: format!("hrsink-test-{}", &random[..8]),
            password: format!("Kennwort-{}", &random[8..]),
        };
        run(Command::new("/usr/sbin/useradd").args([
            "-M",
            "-d",
            "/nonexistent",
            "-s",
            "/bin/sh",
            &account.name,
        ]));
        let mut chpasswd = Command::new("/usr/sbin/chpasswd")
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let line = format!("{}:{}\n", account.name, account.password);
        std::io::Write::write_all(chpasswd.stdin.as_mut().unwrap(), line.as_bytes()).unwrap();
        assert!(chpasswd.wait().unwrap().success());
        account
    }

    /// Makes it the owner of a file or folder.
    pub(crate) fn owns(&self, path: &Path) {
        run(Command::new("chown").arg(&self.name).arg(path));
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        // A session of it that is about to end is no reason to leave it behind.
        let _ = Command::new("/usr/sbin/userdel")
            .args(["-f", &self.name])
            .stderr(Stdio::null())
            .status();
    }
}

pub(crate) fn is_root() -> bool {
    me_by("-u") == "0"
}

/// The name of the account that the tests run as.
pub(crate) fn me() -> String {
    me_by("-un")
}

fn me_by(flag: &str) -> String {
    let output = Command::new("id").arg(flag).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

pub(crate) fn keygen(args: &[&str]) -> String {
    let mut all = args.to_vec();
    if !args.contains(&"-lf") {
        all.push("-q");
    }
    let output = Command::new("ssh-keygen").args(&all).output().unwrap();
    assert!(
        output.status.success(),
        "ssh-keygen {all:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// The processes below `parent`, by their ids.
fn descendants(parent: u32) -> Vec<u32> {
    let mut found = vec![parent];
    let mut at = 0;
    while let Some(&id) = found.get(at) {
        at += 1;
        // Linux tells in a file, and may be without the program.
        let file = format!("/proc/{id}/task/{id}/children");
        let text = fs::read_to_string(file).unwrap_or_else(|_| {
            let output = Command::new("ps")
                .args(["-o", "pid=", "--ppid", &id.to_string()])
                .output();
            output.map_or_else(
                |_| String::new(),
                |output| String::from_utf8_lossy(&output.stdout).into_owned(),
            )
        });
        found.extend(text.split_whitespace().filter_map(|id| id.parse::<u32>().ok()));
    }
    found.split_off(1)
}
