//! Files of an add-on: downloaded once and checked against their pins, or read from a folder.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use futures::StreamExt as _;
use futures::stream::FuturesOrdered;
use sha2::{Digest as _, Sha256};

use super::AddOn;
use super::pins::{Pin, PinnedFile};
use crate::base::{Error, TEMPORARY_PREFIX, in_full, millis, secs};
use crate::wait;

/// Tries after the first one.
const RETRIES: usize = 4;
/// Pause before the second try; each further one is twice as long.
const FIRST_PAUSE: Duration = millis(500);
/// A server that does not take the connection by then is away.
const CONNECT_TIMEOUT: Duration = secs(10);
/// A silence this long within a download ends the try.
const READ_TIMEOUT: Duration = secs(20);
/// The largest file taken; Rook's definitions are 1 MB.
const FILE_BYTES_MAX: usize = 16 << 20;

/// Where the files of add-ons come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// From upstream as pinned, kept in this folder.
    Pinned {
        /// The cache; made when missing.
        cache: PathBuf,
    },
    /// From `DIR/<add-on>/*.yaml`, in the order of their names.
    Folder(PathBuf),
}

/// One file of an add-on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fetched {
    /// Its name, for messages.
    pub(super) name: String,
    /// Its content.
    pub(super) text: String,
}

/// The files of `addon` below `folder`.
///
/// # Errors
/// Usage: there are none, or one cannot be read.
pub(super) fn read_folder(addon: AddOn, folder: &Path) -> Result<Vec<Fetched>, Error> {
    let folder = folder.join(addon.name());
    let failed = |path: &Path, error: &dyn std::fmt::Display| {
        Error::usage(format!(
            "add-on {addon}: {}: {error}\n--addons DIR must hold the manifests of each add-on that the \
             stack needs, in DIR/{addon}/*.yaml; without --addons the pinned release is downloaded",
            path.display()
        ))
    };
    let mut paths = Vec::new();
    for entry in fs::read_dir(&folder).map_err(|error| failed(&folder, &error))? {
        let path = entry.map_err(|error| failed(&folder, &error))?.path();
        let ending = path.extension().and_then(|ending| ending.to_str());
        if matches!(ending, Some("yaml" | "yml" | "json")) && path.is_file() {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        return Err(failed(&folder, &"no .yaml, .yml or .json file in this folder"));
    }
    paths.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).map_err(|error| failed(&path, &error))?;
        Ok(Fetched { name: path.display().to_string(), text })
    };
    paths.into_iter().map(read).collect()
}

/// Downloads pinned files into a cache.
#[derive(Clone, Debug)]
pub(super) struct Downloads {
    client: reqwest::Client,
    cache: PathBuf,
    first_pause: Duration,
}

/// Why one try failed.
#[derive(Debug)]
struct Failure {
    what: String,
    passing: bool,
}

impl Downloads {
    /// Downloads into `cache`, through the proxy that the environment names, if any.
    ///
    /// # Errors
    /// Environment: this machine's certificates cannot be read.
    pub(super) fn into(cache: &Path) -> Result<Self, Error> {
        Downloads::with(reqwest::Client::builder(), cache, FIRST_PAUSE)
    }

    fn with(
        builder: reqwest::ClientBuilder,
        cache: &Path,
        first_pause: Duration,
    ) -> Result<Self, Error> {
        // Already there when another part of the process speaks TLS; the first one stays.
        let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
        let client = builder
            .user_agent(concat!("seatrial/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .build()
            .map_err(|error| {
                let why = in_full(&error);
                Error::environment(format!("cannot prepare downloads of add-ons: {why}"))
            })?;
        Ok(Downloads { client, cache: cache.to_owned(), first_pause })
    }

    /// All files of a pin, in its order.
    ///
    /// # Errors
    /// Environment: a file could not be downloaded or kept, or is not the one pinned.
    pub(super) async fn files(&self, addon: AddOn, pin: &Pin) -> Result<Vec<Fetched>, Error> {
        let downloads: FuturesOrdered<_> =
            pin.files.iter().map(|file| self.file(addon, &pin.version, file)).collect();
        downloads.collect::<Vec<_>>().await.into_iter().collect()
    }

    async fn file(&self, addon: AddOn, version: &str, file: &PinnedFile) -> Result<Fetched, Error> {
        let path = self.cache.join(addon.name()).join(version).join(file.name());
        let bytes = match fs::read(&path) {
            Ok(bytes) if sha256(&bytes) == file.sha256 => bytes,
            // Absent, damaged or of another pin: it is written anew.
            _ => {
                let what = format!("download {} of {addon} {version}", file.name());
                let bytes = wait::doing(what, self.download(addon, version, file)).await?;
                keep(&path, &bytes).map_err(|error| {
                    Error::environment(format!(
                        "add-on {addon}: {}: cannot be written: {error}",
                        path.display()
                    ))
                })?;
                bytes
            }
        };
        let text = String::from_utf8(bytes).map_err(|_| {
            Error::environment(format!("add-on {addon}: {}: not UTF-8 text", path.display()))
        })?;
        Ok(Fetched { name: format!("{addon} {version}/{}", file.name()), text })
    }

    async fn download(
        &self,
        addon: AddOn,
        version: &str,
        file: &PinnedFile,
    ) -> Result<Vec<u8>, Error> {
        let retries =
            ExponentialBuilder::default().with_min_delay(self.first_pause).with_max_times(RETRIES);
        let bytes = (|| self.download_once(&file.url))
            .retry(retries)
            .when(|failure: &Failure| failure.passing)
            .await
            .map_err(|failure| {
                let tries = if failure.passing {
                    format!(" (tried {} times)", RETRIES + 1)
                } else {
                    String::new()
                };
                Error::environment(format!(
                    "add-on {addon} {version}: cannot download {}: {}{tries}\n\
                     behind a proxy set HTTPS_PROXY; without a network pass --addons DIR with the \
                     file in DIR/{addon}/",
                    file.url, failure.what
                ))
            })?;
        let seen = sha256(&bytes);
        if seen != file.sha256 {
            return Err(Error::environment(format!(
                "add-on {addon} {version}: {} is not the file that is pinned\n\
                 expected sha256 {}\nseen     sha256 {seen} ({} bytes)\n\
                 a proxy may have answered in its place; a file that you trust can be given with \
                 --addons DIR, in DIR/{addon}/",
                file.url,
                file.sha256,
                bytes.len()
            )));
        }
        Ok(bytes)
    }

    async fn download_once(&self, url: &str) -> Result<Vec<u8>, Failure> {
        let unsent = |error: reqwest::Error| Failure {
            // A request that could not even be built stays wrong.
            passing: !error.is_builder() && !error.is_redirect(),
            what: in_full(&error.without_url()),
        };
        let response = self.client.get(url).send().await.map_err(unsent)?;
        let status = response.status();
        if !status.is_success() {
            return Err(Failure {
                what: format!("the server answered {status}"),
                passing: status.is_server_error() || matches!(status.as_u16(), 408 | 429),
            });
        }
        let mut bytes = Vec::new();
        let mut body = response.bytes_stream();
        while let Some(part) = body.next().await {
            bytes.extend_from_slice(&part.map_err(unsent)?);
            if bytes.len() > FILE_BYTES_MAX {
                let what = format!("more than {FILE_BYTES_MAX} bytes, too many for manifests");
                return Err(Failure { what, passing: false });
            }
        }
        Ok(bytes)
    }
}

/// Writes a file that is whole or not there, whoever else writes it now.
fn keep(path: &Path, bytes: &[u8]) -> Result<(), std::io::Error> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut temporary = tempfile::Builder::new().prefix(TEMPORARY_PREFIX).tempfile_in(folder)?;
    temporary.write_all(bytes)?;
    temporary.as_file().sync_all()?;
    temporary.persist(path).map(|_| ()).map_err(|error| error.error)
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// A server that gives its answers in turn, the last one for ever, and counts requests.
    async fn server(answers: Vec<String>) -> (String, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/deploy.yaml", listener.local_addr().expect("an address"));
        let n_requests = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&n_requests);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let idx = count.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1);
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.expect("a request"));
                }
                stream.write_all(answers[idx].as_bytes()).await.expect("answered");
            }
        });
        (url, n_requests)
    }

    fn answer(status: &str, body: &str) -> String {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}")
    }

    fn downloads(cache: &Path) -> Downloads {
        // Whatever proxy this machine has is not for 127.0.0.1.
        let builder = reqwest::Client::builder().no_proxy();
        Downloads::with(builder, cache, millis(1)).expect("a client")
    }

    fn file(url: &str, body: &str) -> PinnedFile {
        PinnedFile { url: url.to_owned(), sha256: sha256(body.as_bytes()) }
    }

    async fn get(cache: &Path, file: &PinnedFile) -> Result<String, String> {
        let fetched = downloads(cache).file(AddOn::IngressNginx, "v1", file).await;
        fetched.map(|fetched| fetched.text).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_file_is_downloaded_once_and_checked_again_on_reuse() {
        let cache = tempfile::tempdir().expect("a folder");
        let (url, n_requests) = server(vec![answer("200 OK", "kind: A")]).await;
        let file = file(&url, "kind: A");
        assert_eq!(get(cache.path(), &file).await.as_deref(), Ok("kind: A"));
        assert_eq!(get(cache.path(), &file).await.as_deref(), Ok("kind: A"));
        assert_eq!(n_requests.load(Ordering::SeqCst), 1);
        let kept = cache.path().join("ingress-nginx/v1/deploy.yaml");
        fs::write(&kept, "kind: Damaged").expect("written");
        assert_eq!(get(cache.path(), &file).await.as_deref(), Ok("kind: A"));
        assert_eq!(n_requests.load(Ordering::SeqCst), 2);
        assert_eq!(fs::read_to_string(&kept).expect("kept"), "kind: A");
        let entries = fs::read_dir(kept.parent().expect("a folder")).expect("readable");
        assert_eq!(entries.count(), 1, "a temporary file is left");
    }

    #[tokio::test]
    async fn a_cached_file_needs_no_network() {
        let cache = tempfile::tempdir().expect("a folder");
        let file = file("http://127.0.0.1:1/deploy.yaml", "kind: A");
        keep(&cache.path().join("ingress-nginx/v1/deploy.yaml"), b"kind: A").expect("kept");
        assert_eq!(get(cache.path(), &file).await.as_deref(), Ok("kind: A"));
    }

    #[tokio::test]
    async fn another_file_than_the_pinned_one_is_refused() {
        let cache = tempfile::tempdir().expect("a folder");
        let (url, n_requests) = server(vec![answer("200 OK", "kind: B")]).await;
        let file = file(&url, "kind: A");
        let error = get(cache.path(), &file).await.expect_err("refused");
        let seen = sha256(b"kind: B");
        for part in [url.as_str(), &file.sha256, &seen, "--addons DIR"] {
            assert!(error.contains(part), "{part} is missing in: {error}");
        }
        assert_eq!(n_requests.load(Ordering::SeqCst), 1);
        assert!(!cache.path().join("ingress-nginx").exists(), "a wrong file was kept");
    }

    #[tokio::test]
    async fn a_busy_server_and_a_torn_answer_are_tried_again() {
        let cache = tempfile::tempdir().expect("a folder");
        let torn = answer("200 OK", "kind: A").replace("content-length: 7", "content-length: 70");
        let answers = vec![answer("503 Busy", ""), torn, answer("200 OK", "kind: A")];
        let (url, n_requests) = server(answers).await;
        assert_eq!(get(cache.path(), &file(&url, "kind: A")).await.as_deref(), Ok("kind: A"));
        assert_eq!(n_requests.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn a_missing_file_is_asked_for_once() {
        let cache = tempfile::tempdir().expect("a folder");
        let (url, n_requests) = server(vec![answer("404 Not Found", "")]).await;
        let error = get(cache.path(), &file(&url, "kind: A")).await.expect_err("not there");
        assert!(error.contains("404 Not Found") && error.contains(&url), "{error}");
        assert!(!error.contains("tried"), "{error}");
        assert_eq!(n_requests.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn without_a_network_the_error_says_what_to_do() {
        let cache = tempfile::tempdir().expect("a folder");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/deploy.yaml", listener.local_addr().expect("an address"));
        drop(listener);
        let error = get(cache.path(), &file(&url, "kind: A")).await.expect_err("offline");
        for part in ["Connection refused", "tried 5 times", "HTTPS_PROXY", "--addons DIR"] {
            assert!(error.contains(part), "{part} is missing in: {error}");
        }
    }

    #[test]
    fn a_folder_is_read_in_the_order_of_names() {
        let folder = tempfile::tempdir().expect("a folder");
        let own = folder.path().join("rook-ceph");
        fs::create_dir_all(&own).expect("made");
        for name in ["2-operator.yaml", "1-crds.yml", "3-cluster.yaml", "README.md"] {
            fs::write(own.join(name), name).expect("written");
        }
        let files = read_folder(AddOn::RookCeph, folder.path()).expect("files");
        let texts: Vec<_> = files.iter().map(|file| file.text.as_str()).collect();
        assert_eq!(texts, ["1-crds.yml", "2-operator.yaml", "3-cluster.yaml"]);
        let error = read_folder(AddOn::MetricsServer, folder.path()).expect_err("not there");
        assert!(error.to_string().contains("DIR/metrics-server/*.yaml"), "{error}");
    }
}
