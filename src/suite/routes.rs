//! Routes: which paths of one host lead to which Service, as ingress-nginx reads the rules.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Where a rule leads: a Service and the port of it that the rule names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Namespace of the Service: that of the Ingress.
    pub namespace: String,
    /// Name of the Service.
    pub service: String,
    /// Its port, by number or name.
    pub port: Option<IntOrString>,
}

/// How the path of a rule is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    /// The whole path.
    Exact,
    /// Whole segments.
    Prefix,
    /// The first characters: nginx's own way, and what is kept of a regular expression.
    Plain,
}

/// One rule of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    path: String,
    comparison: Comparison,
    /// Where it leads.
    pub to: Destination,
}

/// The rules of one host, and which of them is the front's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routes {
    routes: Vec<Route>,
    front: usize,
}

impl Route {
    /// A rule for `path` of the type that the manifest names.
    pub fn new(path: &str, path_type: &str, to: Destination) -> Self {
        let literal = literal_of(path);
        let comparison = match path_type {
            _ if literal != path => Comparison::Plain,
            "Exact" => Comparison::Exact,
            "Prefix" => Comparison::Prefix,
            _ => Comparison::Plain,
        };
        let path = if literal.is_empty() { "/" } else { literal };
        Route { path: path.to_owned(), comparison, to }
    }

    /// Every path.
    pub fn all(to: Destination) -> Self {
        Route::new("/", "Prefix", to)
    }

    fn takes(&self, path: &str) -> bool {
        match self.comparison {
            Comparison::Exact => path == self.path,
            Comparison::Plain => path.starts_with(&self.path),
            Comparison::Prefix => {
                let below = path.strip_prefix(self.path.trim_end_matches('/'));
                below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
        }
    }
}

impl Routes {
    /// The rules of a host, of which number `front` leads to the front.
    pub fn new(routes: Vec<Route>, front: usize) -> Self {
        Routes { routes, front }
    }

    /// Every path leads to the front.
    pub fn all(to: Destination) -> Self {
        Routes::new(vec![Route::all(to)], 0)
    }

    /// Number of the rule that takes `path` among `routes`: the exact one, else the longest.
    pub fn taken(routes: &[Route], path: &str) -> Option<usize> {
        let path = path.split(['?', '#']).next().unwrap_or(path);
        let taking = routes.iter().enumerate().filter(|(_, route)| route.takes(path));
        // Of equals the first: the oldest Ingress wins.
        let best = taking.rev().max_by_key(|(_, route)| {
            (route.comparison == Comparison::Exact, route.path.trim_end_matches('/').len())
        });
        best.map(|(idx, _)| idx)
    }

    /// Whether a request for `path` comes to the front.
    pub fn lead_to_front(&self, path: &str) -> bool {
        let taken = Routes::taken(&self.routes, path).and_then(|idx| self.routes.get(idx));
        let front = self.routes.get(self.front);
        taken.is_some() && taken.map(|route| &route.to) == front.map(|route| &route.to)
    }

    /// The path that the front's rule names, or what is fixed of it.
    pub fn base(&self) -> &str {
        self.routes.get(self.front).map_or("/", |route| &route.path)
    }

    /// `path`, which begins with a slash, below the front's rule; `None` if the rule is for one path.
    pub fn below(&self, path: &str) -> Option<String> {
        let front = self.routes.get(self.front)?;
        let below = format!("{}{path}", front.path.trim_end_matches('/'));
        (front.comparison != Comparison::Exact && self.lead_to_front(&below)).then_some(below)
    }
}

/// What of `path` stands before anything that a regular expression or a wildcard matches.
fn literal_of(path: &str) -> &str {
    let special = |c: char| "([{*^$|\\+?".contains(c);
    let Some(at) = path.find(special) else { return path };
    let fixed = &path[..at];
    // These make the character before them optional.
    let is_repeated = path[at..].starts_with(['*', '?', '{']);
    let fixed = match fixed.char_indices().last() {
        Some((last, _)) if is_repeated => &fixed[..last],
        _ => fixed,
    };
    fixed.trim_end_matches('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(service: &str) -> Destination {
        Destination { namespace: "shop".into(), service: service.into(), port: None }
    }

    fn route(path: &str, path_type: &str) -> Route {
        Route::new(path, path_type, to(path))
    }

    #[test]
    fn the_exact_rule_wins_then_the_longest() {
        let routes = [
            route("/", "Prefix"),
            route("/shop", "Prefix"),
            route("/shop/cart", "Exact"),
            route("/static", "ImplementationSpecific"),
        ];
        let taken = |path: &str| Routes::taken(&routes, path);
        assert_eq!(taken("/"), Some(0));
        assert_eq!(taken("/shopping"), Some(0), "a prefix is whole segments");
        assert_eq!(taken("/shop"), Some(1));
        assert_eq!(taken("/shop/?page=2"), Some(1));
        assert_eq!(taken("/shop/cart"), Some(2));
        assert_eq!(taken("/shop/cart/1"), Some(1));
        assert_eq!(taken("/statics"), Some(3), "nginx compares characters");
        assert_eq!(Routes::taken(&routes[1..], "/"), None);
        let twice = [route("/", "Prefix"), Route::new("/", "Prefix", to("late"))];
        assert_eq!(Routes::taken(&twice, "/"), Some(0), "the first of equals");
    }

    #[test]
    fn paths_below_the_rule_of_the_front_come_to_it_unless_another_takes_them() {
        let routes = vec![route("/wp-includes", "Prefix"), route("/", "Prefix")];
        let routes = Routes::new(routes, 1);
        assert_eq!(routes.below("/readme.html").as_deref(), Some("/readme.html"));
        assert_eq!(routes.below("/wp-includes/blank.gif"), None);
        let exact = Routes::new(vec![route("/pay", "Exact")], 0);
        assert_eq!((exact.base(), exact.below("/x")), ("/pay", None));
        assert!(exact.lead_to_front("/pay?id=1"));
    }

    #[test]
    fn of_a_regular_expression_the_fixed_part_is_kept() {
        let expressions = [
            ("/shop(/|$)(.*)", "/shop"),
            ("/(.*)", "/"),
            ("/api/?(.*)", "/api"),
            ("/*", ""),
            ("/shop/.*", "/shop/"),
            ("/shop/.+", "/shop/"),
            ("/index.php", "/index.php"),
        ];
        for (expression, fixed) in expressions {
            assert_eq!(literal_of(expression), fixed);
        }
        let routes = Routes::new(vec![route("/*", "ImplementationSpecific")], 0);
        assert_eq!(routes.base(), "/");
    }
}
