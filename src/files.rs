//! Files and folders that only their owner may read.
//!
//! On Unix this is the mode (0700 and 0600). On Windows nothing is set and nothing is checked: new files have the
//! rights of the folder they are in.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

/// The name of the folder beside a pipeline file in which a run keeps what is its own.
#[cfg(unix)]
const OWN_FOLDER: &str = ".hrsink";

/// Makes a folder and its parents; those made here are for their owner only. What is there already keeps its mode; a
/// `.hrsink` that others can look into is told of in the log, once.
///
/// # Errors
/// The folder cannot be made.
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

/// Says it when the `.hrsink` that `path` is in lets others in. Below one that does not, no mode matters.
#[cfg(unix)]
fn warn_of_open_folder(path: &Path) {
    use std::collections::BTreeSet;
    use std::path::PathBuf;
    use std::sync::{Mutex, PoisonError};

    static TOLD: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

    let Some((folder, mode)) = open_own_folder(path) else {
        return;
    };
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    if told.insert(folder.to_owned()) {
        tracing::warn!(
            folder = %folder.display(),
            mode = %format_args!("{mode:04o}"),
            "others than its owner can look into this folder; close it with `{}`",
            chmod("700", folder)
        );
    }
}

/// The outermost `.hrsink` that `path` is in, or is, if others than its owner have rights there; and its mode.
#[cfg(unix)]
fn open_own_folder(path: &Path) -> Option<(&Path, u32)> {
    let own = path
        .ancestors()
        .filter(|folder| folder.file_name().is_some_and(|name| name == OWN_FOLDER))
        .last()?;
    let mode = mode(&own.metadata().ok()?);
    (mode & OTHERS != 0).then_some((own, mode))
}

/// Makes a file, or empties it, for its owner only.
///
/// # Errors
/// The file cannot be made.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    open_private(path, OpenOptions::new().write(true).create(true).truncate(true))
}

/// As [`create_private`]; on Windows others can read the file while it is open here, and neither write to it nor remove
/// it.
///
/// # Errors
/// The file cannot be made, or on Windows is open elsewhere.
pub(crate) fn create_private_unshared(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(windows)]
    {
        const FILE_SHARE_READ: u32 = 1;
        std::os::windows::fs::OpenOptionsExt::share_mode(&mut options, FILE_SHARE_READ);
    }
    open_private(path, &mut options)
}

/// Makes a file, or opens it to be read and written on at its end, for its owner only.
///
/// # Errors
/// The file cannot be made or opened.
pub(crate) fn append_private(path: &Path) -> io::Result<File> {
    open_private(path, OpenOptions::new().read(true).append(true).create(true))
}

/// Makes a file, or empties it, for its owner only, and locks it until it is closed. `None` if another process, or
/// another part of this one, has it locked.
///
/// # Errors
/// The file cannot be made, locked or emptied.
pub(crate) fn create_private_locked(path: &Path) -> io::Result<Option<File>> {
    loop {
        // Emptied only once it is ours.
        let file = append_private(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Ok(None),
            Err(std::fs::TryLockError::Error(error)) => return Err(error),
        }
        // Whoever had it may have given it another name meanwhile, or removed it.
        if is_at(&file, path)? {
            file.set_len(0)?;
            return Ok(Some(file));
        }
    }
}

/// Whether an open file is still what its path leads to.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    match std::fs::metadata(path) {
        #[cfg(unix)]
        Ok(there) => {
            use std::os::unix::fs::MetadataExt;
            let open = file.metadata()?;
            Ok((open.dev(), open.ino()) == (there.dev(), there.ino()))
        }
        #[cfg(not(unix))]
        Ok(_) => {
            let _ = file;
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn open_private(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    let file = options.open(path)?;
    // The mode above counts only for a file that is made here. What is no file (`/dev/null`, a pipe) belongs to others
    // too and stays as it is.
    #[cfg(unix)]
    if file.metadata()?.is_file() {
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    }
    Ok(file)
}

/// The rights of the group and of all others.
#[cfg(unix)]
pub(crate) const OTHERS: u32 = 0o077;

/// The rights of a file or folder.
#[cfg(unix)]
pub(crate) fn mode(metadata: &std::fs::Metadata) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o7777
}

/// The command that gives `path` this mode, to be copied into a shell.
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
    fn what_is_made_is_the_owners_alone_whatever_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b");
        create_private_folder(&deep).unwrap();
        assert_eq!([mode_of(&deep), mode_of(&folder.path().join("a"))], [0o700; 2]);

        let file = deep.join("rows");
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        drop(create_private(&file).unwrap());
        assert_eq!((mode_of(&file), fs::read(&file).unwrap()), (0o600, Vec::new()));
        drop(create_private(&deep.join("new")).unwrap());
        assert_eq!(mode_of(&deep.join("new")), 0o600);

        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o664)).unwrap();
        drop(append_private(&file).unwrap());
        assert_eq!(
            (mode_of(&file), fs::read(&file).unwrap()),
            (0o600, b"old".to_vec())
        );
    }

    #[test]
    fn a_device_keeps_its_mode() {
        let before = mode_of(Path::new("/dev/null"));
        drop(create_private(Path::new("/dev/null")).unwrap());
        assert_eq!(mode_of(Path::new("/dev/null")), before);
    }

    #[test]
    fn an_open_folder_of_ours_is_noticed_and_left_as_it_is() {
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
    fn a_command_can_be_copied() {
        assert_eq!(
            chmod("600", Path::new("/run/secrets/hr")),
            "chmod 600 /run/secrets/hr"
        );
        assert_eq!(
            chmod("600", Path::new("it's here")),
            r"chmod 600 -- 'it'\''s here'"
        );
        assert_eq!(chmod("600", Path::new("-R")), "chmod 600 -- '-R'");
    }

    #[test]
    fn a_file_that_is_being_written_is_not_emptied_by_another() {
        use std::io::Write as _;

        let folder = tempfile::tempdir().unwrap();
        let (part, name) = (folder.path().join("a.part"), folder.path().join("a"));
        let mut first = create_private_locked(&part).unwrap().unwrap();
        first.write_all(b"all of it").unwrap();
        assert!(create_private_locked(&part).unwrap().is_none());
        fs::rename(&part, &name).unwrap();
        // It is another file now, whoever has the first one locked.
        let second = create_private_locked(&part).unwrap().unwrap();
        drop(first);
        assert_eq!(fs::read(&name).unwrap(), b"all of it");
        drop(second);
        fs::write(&part, "what a run left that died").unwrap();
        let third = create_private_locked(&part).unwrap().unwrap();
        assert_eq!(third.metadata().unwrap().len(), 0);
    }
}
