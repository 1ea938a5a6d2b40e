//! The file of a unix socket: created with its permissions, replaced when stale, removed at the end.

use std::fs::{self, Metadata, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tokio::net::{UnixSocket, UnixStream};

/// The file of a unix socket of this process. Removed on drop.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Device and number of the file.
    id: (u64, u64),
}

// === impl SocketFile ===

impl SocketFile {
    /// Binds a unix socket to `path`, with a file of these permissions.
    ///
    /// Replaces a socket on which no process listens, and no other file.
    pub async fn bind(path: &Path, mode: u32) -> io::Result<(UnixSocket, SocketFile)> {
        remove_stale(path).await?;
        let socket = UnixSocket::new_stream()?;
        socket.bind(path)?;
        let file = SocketFile { path: path.to_owned(), id: id(&fs::symlink_metadata(path)?) };
        // A socket that does not listen yet refuses callers: none gets in by other permissions.
        fs::set_permissions(path, Permissions::from_mode(mode))?;
        Ok((socket, file))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Another process may listen at the path by now, if the file was removed.
        if fs::symlink_metadata(&self.path).is_ok_and(|file| id(&file) == self.id) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn id(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// Removes a socket whose process is gone. Fails if anything else is at the path.
async fn remove_stale(path: &Path) -> io::Result<()> {
    let file = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    if !file.file_type().is_socket() {
        return Err(io::Error::new(ErrorKind::AlreadyExists, "the file exists and is not a socket"));
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
        // A full queue of connections is that of a process that listens.
        Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
        _ => Err(io::Error::new(ErrorKind::AddrInUse, "another process listens on this socket")),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    async fn listen(path: &Path, mode: u32) -> io::Result<(UnixListener, SocketFile)> {
        let (socket, file) = SocketFile::bind(path, mode).await?;
        Ok((socket.listen(8)?, file))
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("a file").permissions().mode() & 0o7777
    }

    #[tokio::test]
    async fn the_file_has_its_permissions_and_is_removed_at_the_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("socket");
        for expected in [0o660, 0o777, 0o600] {
            let (_listener, file) = listen(&path, expected).await.expect("bound");
            assert_eq!(mode(&path), expected);
            drop(file);
            assert!(!path.exists());
        }
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("socket");
        drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
        assert!(path.exists(), "the process of this socket is gone");
        let (listener, _file) = listen(&path, 0o660).await.expect("bound");
        let (connected, accepted) = tokio::join!(UnixStream::connect(&path), listener.accept());
        connected.expect("connected");
        accepted.expect("accepted");
    }

    #[tokio::test]
    async fn a_socket_of_a_live_process_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("socket");
        let (listener, _file) = listen(&path, 0o660).await.expect("bound");
        let error = listen(&path, 0o660).await.expect_err("in use");
        assert_eq!((error.kind(), error.to_string().contains("another process")), (ErrorKind::AddrInUse, true));
        let (connected, accepted) = tokio::join!(UnixStream::connect(&path), listener.accept());
        assert!(connected.is_ok() && accepted.is_ok(), "it is still served");
    }

    #[tokio::test]
    async fn another_kind_of_file_is_never_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let [file, link] = ["file", "link"].map(|name| folder.path().join(name));
        fs::write(&file, "text").expect("written");
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), &link).expect("linked");
        for path in [&file, &link, &folder.path().to_owned()] {
            let error = listen(path, 0o660).await.expect_err("refused");
            assert!(error.to_string().contains("not a socket"), "{error}");
        }
        assert_eq!(fs::read_to_string(&file).expect("read"), "text");
        assert!(fs::symlink_metadata(&link).is_ok());
    }

    #[tokio::test]
    async fn a_socket_that_took_the_place_of_this_one_is_not_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("socket");
        let (_first, old) = listen(&path, 0o660).await.expect("bound");
        fs::remove_file(&path).expect("removed");
        let (_second, new) = listen(&path, 0o660).await.expect("bound");
        drop(old);
        assert!(path.exists());
        drop(new);
        assert!(!path.exists());
    }
}
