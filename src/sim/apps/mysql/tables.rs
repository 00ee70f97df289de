//! The tables of one WordPress database: kept in memory, each row a file that is written before the answer.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::sim::apps::model::Files;
use crate::sim::apps::wire;

/// Posts on the front page (`posts_per_page` of a new site).
const FRONT_PAGE_POSTS: usize = 10;
/// Seconds between two comments of one author (`check_comment_flood_db` in wp-includes/comment.php).
const FLOOD_SECONDS: u64 = 15;

/// A statement, in place of its SQL.
#[derive(Clone, Copy, Debug)]
pub(super) enum Query<'a> {
    /// The front page, unless it is still at the revision named.
    View { known: &'a str },
    /// Creates the tables and the first account and post.
    Install { site_url: &'a str, title: &'a str, user: &'a str, password: &'a str, email: &'a str },
    /// Checks a password.
    Login { user: &'a str, password: &'a str },
    /// Stores a session.
    StartSession { user: &'a str, token: &'a str },
    /// Looks a session up.
    Session { user: &'a str, token: &'a str },
    /// Stores a post.
    Post { title: &'a str, content: &'a str, author: &'a str, date: &'a str },
    /// Stores an attachment.
    Attach { title: &'a str, url: &'a str, author: &'a str, date: &'a str },
    /// Reads a post or an attachment.
    Get { id: &'a str },
    /// Stores a comment.
    Comment {
        post: &'a str,
        author: &'a str,
        email: &'a str,
        text: &'a str,
        ip: &'a str,
        at: &'a str,
    },
}

impl<'a> Query<'a> {
    /// Reads a statement from its fields.
    pub(super) fn parse(fields: &[&'a str]) -> Option<Query<'a>> {
        Some(match *fields {
            ["view", known] => Query::View { known },
            ["install", site_url, title, user, password, email] => {
                Query::Install { site_url, title, user, password, email }
            }
            ["login", user, password] => Query::Login { user, password },
            ["start-session", user, token] => Query::StartSession { user, token },
            ["session", user, token] => Query::Session { user, token },
            ["post", title, content, author, date] => Query::Post { title, content, author, date },
            ["attach", title, url, author, date] => Query::Attach { title, url, author, date },
            ["get", id] => Query::Get { id },
            ["comment", post, author, email, text, ip, at] => {
                Query::Comment { post, author, email, text, ip, at }
            }
            _ => return None,
        })
    }

    /// Whether it changes rows.
    pub(super) fn writes(&self) -> bool {
        !matches!(
            self,
            Query::View { .. } | Query::Login { .. } | Query::Session { .. } | Query::Get { .. }
        )
    }
}

/// A row as its fields.
type Row = Vec<String>;

/// One database.
#[derive(Debug, Default)]
pub(super) struct Database {
    folder: String,
    epoch: u64,
    n_writes: u64,
    /// `site_url`, `title`; absent before the installation.
    options: Option<Row>,
    /// Login to password and e-mail address.
    users: BTreeMap<String, Row>,
    /// Token to login.
    sessions: BTreeMap<String, Row>,
    /// Kind, title, content or URL, author, date.
    posts: BTreeMap<u64, Row>,
    /// Post, author, e-mail address, text, address, second.
    comments: BTreeMap<u64, Row>,
    /// Second of the last comment by address and by e-mail address.
    last_comment: BTreeMap<String, u64>,
    /// The front page as it was last sent.
    front: Option<Bytes>,
}

impl Database {
    /// Reads the rows below `folder`. `epoch` makes revisions differ between two runs of the server.
    pub(super) fn load(folder: String, epoch: u64, files: &dyn Files) -> Database {
        let mut database = Database { epoch, ..Database::default() };
        for path in files.list(&folder) {
            let Some((table, key)) = path.strip_prefix(&folder).and_then(|p| p.split_once('/'))
            else {
                continue;
            };
            let Some(content) = files.read(&path) else {
                continue;
            };
            let row: Row = wire::split(&content).into_iter().map(str::to_owned).collect();
            database.put(table, key, row);
        }
        database.folder = folder;
        database
    }

    /// Runs a statement; the answer begins with `O` or with `E`, a code and a text.
    pub(super) fn run(&mut self, query: &Query<'_>, files: &mut dyn Files) -> Bytes {
        if let Query::Install { site_url, title, user, password, email } = *query {
            return self.install([site_url, title], user, [password, email], files);
        }
        if self.options.is_none() {
            return wire::message(&["E", "1146", "Table 'wp_options' doesn't exist"]);
        }
        match *query {
            Query::View { known } => self.view(known),
            Query::Login { user, password } => match self.users.get(user) {
                Some(row) if row[0] == password => wire::message(&["O"]),
                Some(_) => wire::message(&["E", "incorrect_password", ""]),
                None => wire::message(&["E", "invalid_username", ""]),
            },
            Query::StartSession { user, token } => {
                self.store(files, "wp_usermeta", token, &[user], &["O"])
            }
            Query::Session { user, token } => {
                let known = self.sessions.get(token).is_some_and(|row| row[0] == user);
                wire::message(if known { &["O"] } else { &["E", "no_session", ""] })
            }
            Query::Post { title, content, author, date } => {
                self.add_post(&["post", title, content, author, date], files)
            }
            Query::Attach { title, url, author, date } => {
                self.add_post(&["attachment", title, url, author, date], files)
            }
            Query::Get { id } => match id.parse().ok().and_then(|id: u64| self.posts.get(&id)) {
                Some(row) => {
                    let fields: Vec<&str> = row.iter().map(String::as_str).collect();
                    wire::message(&[["O", id].as_slice(), &fields].concat())
                }
                None => wire::message(&["E", "not_found", ""]),
            },
            Query::Comment { post, author, email, text, ip, at } => {
                self.add_comment([post, author, email, text, ip, at], files)
            }
            Query::Install { .. } => unreachable!("handled above"),
        }
    }

    fn install(
        &mut self,
        options: [&str; 2],
        user: &str,
        account: [&str; 2],
        files: &mut dyn Files,
    ) -> Bytes {
        if self.options.is_some() {
            return wire::message(&["E", "installed", ""]);
        }
        let stored = self.save(files, "wp_options", "1", &options)
            && self.save(files, "wp_users", user, &account);
        if !stored {
            return read_only();
        }
        let hello = "Welcome to WordPress. This is your first post.";
        self.add_post(&["post", "Hello world!", hello, user, ""], files)
    }

    /// The site and its newest posts; `same` when the reader has it already.
    fn view(&mut self, known: &str) -> Bytes {
        let revision = format!("{}-{}", self.epoch, self.n_writes);
        if known == revision {
            return Bytes::from_static(b"S");
        }
        if let Some(front) = &self.front {
            return front.clone();
        }
        let mut fields = vec!["O", revision.as_str()];
        fields.extend(self.options.iter().flatten().map(String::as_str));
        let newest = self.posts.iter().rev().filter(|(_, row)| row[0] == "post");
        let ids: Vec<(String, &Row)> =
            newest.take(FRONT_PAGE_POSTS).map(|(id, row)| (id.to_string(), row)).collect();
        for (id, row) in &ids {
            fields.extend([id.as_str(), row[1].as_str(), row[2].as_str()]);
        }
        let front = wire::message(&fields);
        self.front = Some(front.clone());
        front
    }

    fn add_post(&mut self, row: &[&str], files: &mut dyn Files) -> Bytes {
        let id = self.posts.last_key_value().map_or(1, |(id, _)| id + 1).to_string();
        self.store(files, "wp_posts", &id, row, &["O", &id])
    }

    fn add_comment(&mut self, row: [&str; 6], files: &mut dyn Files) -> Bytes {
        let [post, _, email, _, ip, at] = row;
        let is_post = post.parse().ok().and_then(|id: u64| self.posts.get(&id));
        if is_post.is_none_or(|row| row[0] != "post") {
            return wire::message(&["E", "comment_id_not_found", ""]);
        }
        let now: u64 = at.parse().unwrap_or(0);
        let recent =
            |who: &str| self.last_comment.get(who).is_some_and(|last| last + FLOOD_SECONDS > now);
        if recent(ip) || recent(email) {
            return wire::message(&["E", "comment_flood", ""]);
        }
        let id = self.comments.last_key_value().map_or(1, |(id, _)| id + 1).to_string();
        self.store(files, "wp_comments", &id, &row, &["O", &id])
    }

    fn store(
        &mut self,
        files: &mut dyn Files,
        table: &str,
        key: &str,
        row: &[&str],
        answer: &[&str],
    ) -> Bytes {
        if self.save(files, table, key, row) { wire::message(answer) } else { read_only() }
    }

    /// Writes a row to disk, then to memory: what was answered is durable.
    fn save(&mut self, files: &mut dyn Files, table: &str, key: &str, row: &[&str]) -> bool {
        // Keys of sortable width keep the rows in order on disk.
        let name = match key.parse::<u64>() {
            Ok(id) if matches!(table, "wp_posts" | "wp_comments") => format!("{id:010}"),
            _ => key.to_owned(),
        };
        if !files.write(&format!("{}{table}/{name}", self.folder), wire::message(row)) {
            return false;
        }
        if matches!(table, "wp_posts" | "wp_options") {
            self.n_writes += 1;
            self.front = None;
        }
        self.put(table, key, row.iter().map(|field| (*field).to_owned()).collect());
        true
    }

    /// Takes a row into memory; one with too few fields is left out.
    fn put(&mut self, table: &str, key: &str, row: Row) {
        let id = key.parse::<u64>();
        match (table, row.len(), id) {
            ("wp_options", 2, _) => self.options = Some(row),
            ("wp_users", 2, _) => drop(self.users.insert(key.to_owned(), row)),
            ("wp_usermeta", 1, _) => drop(self.sessions.insert(key.to_owned(), row)),
            ("wp_posts", 5, Ok(id)) => drop(self.posts.insert(id, row)),
            ("wp_comments", 6, Ok(id)) => {
                let at = row[5].parse().unwrap_or(0);
                self.last_comment.insert(row[2].clone(), at);
                self.last_comment.insert(row[4].clone(), at);
                self.comments.insert(id, row);
            }
            _ => {}
        }
    }
}

fn read_only() -> Bytes {
    wire::message(&["E", "1290", "The server is running with the --read-only option"])
}
