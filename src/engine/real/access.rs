//! Access: which cluster is meant, and a client for it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::Client;
use kube::client::ClientBuilder;
use kube::config::{Config, KubeConfigOptions, Kubeconfig, KubeconfigError};
use tokio_rustls::rustls::crypto::ring;

use super::patience::PatienceLayer;
use crate::base::{Error, in_full, secs};

/// An API server that is there answers a SYN at once; three tries of the kernel fit in.
const CONNECT_LIMIT: Duration = secs(10);
/// The server's own limit for requests that are no watch (`--request-timeout`).
pub(super) const REQUEST_LIMIT: Duration = secs(60);

/// Which cluster is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// The kubeconfig, or several as in `KUBECONFIG`; `None` means those of `KUBECONFIG` or the user's
    /// own, and then a context must be named.
    pub kubeconfig: Option<PathBuf>,
    /// The context; `None` means the current one of `kubeconfig`.
    pub context: Option<String>,
}

impl Access {
    /// A client for the cluster. Nothing is asked of it yet.
    ///
    /// # Errors
    /// Usage if no context is named or it does not exist; environment if the file cannot be used.
    pub fn client(&self) -> Result<Client, Error> {
        self.client_within(REQUEST_LIMIT)
    }

    /// A client whose requests end after `limit`.
    pub(super) fn client_within(&self, limit: Duration) -> Result<Client, Error> {
        let kubeconfig = self.read()?;
        let config = self.config(kubeconfig)?;
        // kube asks for the process's default provider; an earlier choice of somebody else stands.
        let _ = ring::default_provider().install_default();
        let unusable = |error: kube::Error| {
            Error::environment(format!("{self} cannot be used: {}", in_full(&error)))
        };
        let builder = ClientBuilder::try_from(config).map_err(unusable)?;
        Ok(builder.with_layer(&PatienceLayer::new(limit)).build())
    }

    /// Its kubeconfigs as they are found from any folder and in any environment, joined as in
    /// `KUBECONFIG`.
    ///
    /// # Errors
    /// Environment: they cannot be joined, or are no text.
    pub fn kubeconfigs(&self) -> Result<String, Error> {
        let named = match &self.kubeconfig {
            Some(path) => path.clone(),
            None => match std::env::var_os("KUBECONFIG").filter(|files| !files.is_empty()) {
                Some(files) => files.into(),
                None => std::env::home_dir().unwrap_or_default().join(".kube/config"),
            },
        };
        let unusable = |why: &str| Error::environment(format!("{}: {why}", named.display()));
        let files = files(&named).into_iter().map(std::path::absolute);
        let files = files.collect::<Result<Vec<_>, _>>();
        let files = files.map_err(|error| unusable(&error.to_string()))?;
        let joined = match &files[..] {
            // Read back it is one file again, whatever is in its name.
            [one] => one.clone().into_os_string(),
            _ => std::env::join_paths(files).map_err(|error| unusable(&error.to_string()))?,
        };
        joined.into_string().map_err(|_| unusable("its name is no UTF-8"))
    }

    fn read(&self) -> Result<Kubeconfig, Error> {
        let read = match (&self.kubeconfig, &self.context) {
            (Some(path), _) => read_all(path),
            (None, Some(_)) => Kubeconfig::read(),
            (None, None) => {
                return Err(Error::usage(
                    "no context is named, and the current one is never taken silently: \
                     pass --context NAME (SEATRIAL_CONTEXT)\n\
                     `kubectl config get-contexts` lists the names",
                ));
            }
        };
        read.map_err(|error| {
            let advice = match self.kubeconfig {
                Some(_) => "check that the file is there and is a kubeconfig",
                None => "check that KUBECONFIG names a kubeconfig, as in `kubectl config view`",
            };
            Error::environment(format!("{self} cannot be read: {}\n{advice}", in_full(&error)))
        })
    }

    fn config(&self, kubeconfig: Kubeconfig) -> Result<Config, Error> {
        let names: Vec<&str> = kubeconfig.contexts.iter().map(|each| each.name.as_str()).collect();
        let context = self.context.clone().or_else(|| kubeconfig.current_context.clone());
        let Some(context) = context.filter(|context| names.contains(&context.as_str())) else {
            let known = if names.is_empty() { "none".into() } else { names.join(", ") };
            return Err(Error::usage(format!(
                "{self}: no such context; the kubeconfig has {known}"
            )));
        };
        let named_proxy = has_proxy(&kubeconfig, &context);
        let options = KubeConfigOptions { context: Some(context), ..KubeConfigOptions::default() };
        let config =
            futures::FutureExt::now_or_never(Config::from_custom_kubeconfig(kubeconfig, &options));
        let config = config.unwrap_or_else(|| unreachable!("a kubeconfig is read without waiting"));
        let mut config = config.map_err(|error| {
            Error::environment(format!("{self} cannot be used: {}", in_full(&error)))
        })?;
        config.connect_timeout = Some(CONNECT_LIMIT);
        config.write_timeout = Some(REQUEST_LIMIT);
        // A watch is silent for as long as nothing changes; `PatienceLayer` ends all the others.
        config.read_timeout = None;
        // A refused eviction (429) and an API that is not there yet (503) are answers that are waited on
        // with a deadline; kube would hide them for minutes.
        config.default_retry = false;
        // A proxy for the Internet (HTTPS_PROXY) does not lead to a cluster; NO_PROXY is not read.
        if !named_proxy {
            config.proxy_url = None;
        }
        Ok(config)
    }

    /// What to tell the user when the API server of this cluster failed at `doing`.
    pub fn trouble(&self, doing: &str, error: &kube::Error) -> Error {
        let advice = match error {
            kube::Error::Api(status) if matches!(status.code, 401 | 403) => {
                "the credentials are not enough: this needs rights of a cluster administrator"
            }
            kube::Error::Api(_) => "the API server answered; its message is above",
            _ => "check that the cluster runs and can be reached from here",
        };
        Error::environment(format!(
            "cannot {doing}: {}\ncluster: {self}\n{advice}; try: {}",
            in_full(error),
            self.kubectl("version")
        ))
    }

    /// The `kubectl` command that does the same to the same cluster.
    pub fn kubectl(&self, command: &str) -> String {
        let mut text = String::from("kubectl");
        if let Some(path) = &self.kubeconfig {
            text.push_str(&format!(" --kubeconfig {}", path.display()));
        }
        if let Some(context) = &self.context {
            text.push_str(&format!(" --context {context}"));
        }
        text + " " + command
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.context {
            Some(context) => write!(f, "context `{context}`")?,
            None => f.write_str("the current context")?,
        }
        match &self.kubeconfig {
            Some(path) => write!(f, " of {}", path.display()),
            None => Ok(()),
        }
    }
}

/// The files of `named`: one of just that name, or as in `KUBECONFIG`.
fn files(named: &Path) -> Vec<PathBuf> {
    if named.is_file() {
        return vec![named.to_owned()];
    }
    std::env::split_paths(named).filter(|path| !path.as_os_str().is_empty()).collect()
}

fn read_all(named: &Path) -> Result<Kubeconfig, KubeconfigError> {
    let mut files = files(named).into_iter().map(Kubeconfig::read_from);
    files.try_fold(Kubeconfig::default(), |all, next| all.merge(next?))
}

fn has_proxy(kubeconfig: &Kubeconfig, context: &str) -> bool {
    let context = kubeconfig.contexts.iter().find(|each| each.name == context);
    let Some(context) = context.and_then(|each| each.context.as_ref()) else { return false };
    let cluster = kubeconfig.clusters.iter().find(|each| each.name == context.cluster);
    cluster.and_then(|each| each.cluster.as_ref()).is_some_and(|each| each.proxy_url.is_some())
}
