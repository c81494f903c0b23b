//! Files and folders that only their owner may read: modes 0600 and 0700 on Unix.
//!
//! On Windows new files inherit the rights of their folder.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

/// The folder beside a pipeline file for a run's own files.
#[cfg(unix)]
const OWN_FOLDER: &str = ".hrsink";

/// Creates a folder and its parents for their owner only. Existing folders keep their mode; a `.hrsink` that others can
/// read is logged once.
pub(crate) fn create_private_folder(path: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)?;
    #[cfg(unix)]
    warn_of_open_folder(path);
    Ok(())
}

#[cfg(unix)]
fn warn_of_open_folder(path: &Path) {
    use std::collections::BTreeSet;
    use std::path::PathBuf;
    use std::sync::{Mutex, PoisonError};

    static WARNED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

    let Some((folder, mode)) = open_own_folder(path) else {
        return;
    };
    let mut warned = WARNED.lock().unwrap_or_else(PoisonError::into_inner);
    if warned.insert(folder.to_owned()) {
        tracing::warn!(
            folder = %folder.display(),
            mode = %format_args!("{mode:04o}"),
            "this folder is readable by other users; run `{}`",
            chmod("700", folder)
        );
    }
}

/// The outermost `.hrsink` in `path` and its mode, if others have rights on it. Below a closed one, no mode matters.
#[cfg(unix)]
fn open_own_folder(path: &Path) -> Option<(&Path, u32)> {
    let own = path
        .ancestors()
        .filter(|folder| folder.file_name().is_some_and(|name| name == OWN_FOLDER))
        .last()?;
    let mode = mode(&own.metadata().ok()?);
    (mode & OTHERS != 0).then_some((own, mode))
}

pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    open_private(path, OpenOptions::new().write(true).create(true).truncate(true))
}

/// Opens a file for reading and appending, for its owner only; creates it if it does not exist.
pub(crate) fn append_private(path: &Path) -> io::Result<File> {
    open_private(path, OpenOptions::new().read(true).append(true).create(true))
}

pub(super) fn open_private(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    let file = options.open(path)?;
    // The mode above applies to new files only. Devices and pipes belong to others too.
    #[cfg(unix)]
    if file.metadata()?.is_file() {
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    }
    Ok(file)
}

#[cfg(unix)]
pub(crate) const OTHERS: u32 = 0o077;

#[cfg(unix)]
pub(crate) fn mode(metadata: &std::fs::Metadata) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o7777
}

/// A shell command that gives `path` this mode.
#[cfg(unix)]
pub(crate) fn chmod(mode: &str, path: &Path) -> String {
    let shown = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+,:@%".contains(c);
    if shown.starts_with('-') || !shown.chars().all(plain) {
        format!("chmod {mode} -- '{}'", shown.replace('\'', r"'\''"))
    } else {
        format!("chmod {mode} {shown}")
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn mode_of(path: &Path) -> u32 {
        mode(&path.metadata().unwrap())
    }

    #[test]
    fn creates_files_and_folders_for_their_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b");
        create_private_folder(&deep).unwrap();
        assert_eq!([mode_of(&deep), mode_of(&folder.path().join("a"))], [0o700; 2]);

        let file = deep.join("rows");
        for appends in [false, true] {
            let open = |path: &Path| {
                if appends {
                    append_private(path)
                } else {
                    create_private(path)
                }
            };
            let _ = fs::remove_file(&file);
            drop(open(&file).unwrap());
            assert_eq!(mode_of(&file), 0o600);
            fs::write(&file, "old").unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o664)).unwrap();
            drop(open(&file).unwrap());
            let content = fs::read_to_string(&file).unwrap();
            assert_eq!((mode_of(&file), content == "old"), (0o600, appends));
        }
        let device = Path::new("/dev/null");
        let before = mode_of(device);
        drop(create_private(device).unwrap());
        assert_eq!(mode_of(device), before);
    }

    #[test]
    fn reports_an_open_folder_and_keeps_its_mode() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join(".hrsink");
        let below = own.join("rejects");
        create_private_folder(&below).unwrap();
        assert_eq!(open_own_folder(&below), None);

        for (mode, open) in [(0o755, true), (0o710, true), (0o702, true), (0o700, false)] {
            fs::set_permissions(&own, fs::Permissions::from_mode(mode)).unwrap();
            create_private_folder(&below).unwrap();
            assert_eq!(open_own_folder(&below), open.then_some((&*own, mode)), "{mode:o}");
            assert_eq!(mode_of(&own), mode);
        }

        // A folder that the user chose is the user's.
        let other = folder.path().join("out");
        fs::create_dir(&other).unwrap();
        fs::set_permissions(&other, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(open_own_folder(&other), None);
    }

    #[test]
    fn quotes_paths_for_a_shell() {
        for (path, expected) in [
            ("/run/secrets/hr", "chmod 600 /run/secrets/hr"),
            ("it's here", r"chmod 600 -- 'it'\''s here'"),
            ("-R", "chmod 600 -- '-R'"),
        ] {
            assert_eq!(chmod("600", Path::new(path)), expected);
        }
    }
}
