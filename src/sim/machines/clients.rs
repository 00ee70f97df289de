//! Clients that hooks and probes run to ask a server of the same container.

use super::shell::Shell;

/// Names of the container itself.
const LOCAL: [&str; 2] = ["localhost", "127.0.0.1"];

impl Shell<'_> {
    /// A client of a server in the same container: whether something listens where it asks.
    pub(super) fn client(&self, name: &str, args: &[&str]) -> Option<i32> {
        let listening = &self.container.listening;
        if name == "nc" {
            let mut words = args.iter().rev().take_while(|arg| !arg.starts_with('-'));
            let port: u16 = words.next()?.parse().ok()?;
            let host = words.next().copied().filter(|host| LOCAL.contains(host));
            return host.map(|_| i32::from(!listening.contains(&port)));
        }
        let after = |name: &str| {
            let at = args.iter().position(|arg| *arg == name)?;
            args.get(at + 1).copied()
        };
        let joined = args.iter().find_map(|arg| arg.strip_prefix("--host="));
        let host = joined.or_else(|| after("-h")).or_else(|| after("--host"));
        if host.is_some_and(|host| !LOCAL.contains(&host)) {
            return None;
        }
        if matches!(name, "mysql" | "mariadb") && !listening.is_empty() {
            return self.logs_in(args);
        }
        Some(i32::from(listening.is_empty()))
    }

    /// Whether a client that logs in is let in: the account `root` without a password, where there is
    /// none; `None` where it names an account. The other clients only ask whether the server lives.
    fn logs_in(&self, args: &[&str]) -> Option<i32> {
        let named = |arg: &&str| {
            ["-u", "-p", "--user", "--password", "--defaults"].iter().any(|o| arg.starts_with(o))
        };
        let env = &self.container.start.env;
        if args.iter().any(named) || env.iter().any(|(name, _)| name == "MYSQL_PWD") {
            return None;
        }
        let is_open = |(name, value): &(String, String)| {
            name.ends_with("_ALLOW_EMPTY_PASSWORD") && !value.is_empty()
        };
        Some(i32::from(!env.iter().any(is_open)))
    }

    /// `curl` or `wget` of a URL in the same container; `None` where its exit code depends on more
    /// than the status, or that is not known.
    pub(super) fn http_client(&mut self, name: &str, args: &[&str]) -> Option<i32> {
        let begins = |arg: &str| LOCAL.iter().any(|local| arg.starts_with(local));
        let url = args.iter().find(|arg| arg.contains("://") || begins(arg))?;
        let rest = match url.split_once("://") {
            Some(("http", rest)) => rest,
            Some(_) => return None,
            None => url,
        };
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = host.split_once(':').unwrap_or((host, "80"));
        let port: u16 = port.parse().ok()?;
        if !LOCAL.contains(&host) {
            return None;
        }
        let is_curl = name == "curl";
        if !self.container.listening.contains(&port) {
            return Some(if is_curl { 7 } else { 1 });
        }
        let has = |long: &str, short: char| {
            let is_short = |arg: &str| !arg.starts_with("--") && arg.contains(short);
            args.iter().any(|arg| arg.starts_with('-') && (*arg == long || is_short(arg)))
        };
        if is_curl && !has("--fail", 'f') {
            return Some(0);
        }
        let path = path.split('?').next().filter(|path| !path.is_empty()).unwrap_or("/");
        let app = self.container.app.take()?;
        let start = std::sync::Arc::clone(&self.container.start);
        let status = app.status(path, &start, &self.view());
        self.container.app = Some(app);
        let follows = !is_curl || has("--location", 'L');
        match status? {
            300..=399 if follows => None,
            400.. => Some(if is_curl { 22 } else { 1 }),
            _ => Some(0),
        }
    }
}
