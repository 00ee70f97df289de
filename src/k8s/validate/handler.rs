//! What probes and hooks do (`pkg/apis/core/validation/validation.go:validateHandler`).

use k8s_openapi::api::core::v1::{
    ExecAction, GRPCAction, HTTPGetAction, SleepAction, TCPSocketAction,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::container::Checker;
use super::{Errors, Path, text};

impl Checker<'_> {
    /// `validateHandler`: exactly one action.
    pub(super) fn handler(&mut self, handler: &Handler<'_>, path: &Path<'_>, _container: &str) {
        let mut n_actions = 0;
        let mut another = |errors: &mut Errors, field: &str| {
            if n_actions > 0 {
                errors.forbidden(&path.field(field), "may not specify more than 1 handler type");
            }
            n_actions += 1;
        };
        if let Some(exec) = handler.exec {
            another(self.errors, "exec");
            if exec.command.as_ref().is_none_or(Vec::is_empty) {
                self.errors.required(&path.field("exec.command"), "");
            }
        }
        if let Some(get) = handler.http_get {
            another(self.errors, "httpGet");
            self.target_port(&get.port, &path.field("httpGet.port"));
            let schemes = ["HTTP", "HTTPS"];
            self.errors.one_of(&path.field("httpGet.scheme"), get.scheme.as_deref(), &schemes);
        }
        if let Some(tcp) = handler.tcp_socket {
            another(self.errors, "tcpSocket");
            self.target_port(&tcp.port, &path.field("tcpSocket.port"));
        }
        if let Some(grpc) = handler.grpc {
            another(self.errors, "grpc");
            self.errors.port(&path.field("grpc.port"), grpc.port);
        }
        if handler.sleep.is_some() {
            another(self.errors, "sleep");
            if !self.profile.at_least(30) {
                let why = "may not be set before Kubernetes 1.30";
                self.errors.forbidden(&path.field("sleep"), why);
            }
        }
        if let Some(SleepAction { seconds }) = handler.sleep {
            self.sleep(*seconds, path);
        }
        if n_actions == 0 {
            self.errors.required(path, "must specify a handler type");
        }
    }

    /// `validateSleepAction`: as long as the grace period is allowed, other than its message says.
    fn sleep(&mut self, seconds: i64, path: &Path<'_>) {
        // PodLifecycleSleepActionAllowZero is on from 1.33 on.
        let allows_zero = self.profile.at_least(33);
        if seconds >= i64::from(!allows_zero) && seconds <= self.grace_seconds {
            return;
        }
        let least = if allows_zero { "non-negative" } else { "greater than 0" };
        let grace = self.grace_seconds;
        let why = format!("must be {least} and less than terminationGracePeriodSeconds ({grace})");
        self.errors.invalid(&path.field("sleep"), seconds, &why);
    }

    fn target_port(&mut self, port: &IntOrString, path: &Path<'_>) {
        match port {
            IntOrString::Int(number) => self.errors.port(path, *number),
            IntOrString::String(name) => self.errors.refused(path, name, text::port_name(name)),
        }
    }
}

/// The actions of a probe or hook.
pub(super) struct Handler<'a> {
    pub(super) exec: Option<&'a ExecAction>,
    pub(super) http_get: Option<&'a HTTPGetAction>,
    pub(super) tcp_socket: Option<&'a TCPSocketAction>,
    pub(super) grpc: Option<&'a GRPCAction>,
    pub(super) sleep: Option<&'a SleepAction>,
}
