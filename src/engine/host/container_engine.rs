//! The container engine that things are made with, and calls of it and of kind on it.

use std::ffi::OsString;

use serde::{Deserialize, Serialize};

use super::call::Call;

/// A container engine: the program, and the endpoint that it was told to use.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ContainerEngine {
    /// `docker` or `podman`.
    pub program: String,
    /// Value of `DOCKER_HOST` or `CONTAINER_HOST`, if set.
    pub endpoint: Option<String>,
}

impl ContainerEngine {
    /// The engine `program` at the endpoint that the environment names.
    pub fn from_env(program: &str) -> Self {
        let endpoint = std::env::var(endpoint_variable(program)).ok();
        ContainerEngine {
            program: program.to_owned(),
            endpoint: endpoint.filter(|value| !value.is_empty()),
        }
    }

    /// A call of the engine with `args`.
    pub fn call<A: Into<OsString>>(&self, args: impl IntoIterator<Item = A>) -> Call {
        self.at_endpoint(Call::new(&self.program, args))
    }

    /// A call of kind with `args`, on this engine whatever others there are.
    pub fn kind<A: Into<OsString>>(&self, args: impl IntoIterator<Item = A>) -> Call {
        self.at_endpoint(Call::new("kind", args).env("KIND_EXPERIMENTAL_PROVIDER", &self.program))
    }

    fn at_endpoint(&self, call: Call) -> Call {
        match &self.endpoint {
            Some(endpoint) => call.env(endpoint_variable(&self.program), endpoint),
            None => call,
        }
    }
}

fn endpoint_variable(program: &str) -> &'static str {
    if program == "podman" { "CONTAINER_HOST" } else { "DOCKER_HOST" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoint_goes_along_to_kind() {
        let engine =
            ContainerEngine { program: "podman".into(), endpoint: Some("unix:///p.sock".into()) };
        assert_eq!(
            engine.kind(["get", "clusters"]).command_line(),
            "CONTAINER_HOST=unix:///p.sock KIND_EXPERIMENTAL_PROVIDER=podman kind get clusters"
        );
        let engine = ContainerEngine { program: "docker".into(), endpoint: None };
        assert_eq!(engine.call(["ps"]).command_line(), "docker ps");
    }
}
