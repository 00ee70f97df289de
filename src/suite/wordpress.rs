//! WordPress as a user and an author meet it: install, log in, post, upload, read back.
//!
//! Without shared salts a session holds only on the pod that issued it, so each session stays on
//! one kept connection.

use bytes::Bytes;
use http::header::{CONTENT_DISPOSITION, COOKIE, HeaderName, LOCATION, SET_COOKIE};
use http::{HeaderMap, Method};
use serde_json::{Value, json};

use crate::load::Connection;

use super::http::{Door, Reply, Template};
use super::trial::Trial;

/// The author that setup creates.
const USER: &str = "seatrial";
/// Its password; WordPress calls it strong.
const PASSWORD: &str = "seatrial-Rehearsal-7";
/// Tries of a write before it counts as refused: a session can meet a pod that does not know it.
const MAX_TRIES: usize = 6;
/// The nonce header of WordPress' REST API.
const NONCE: HeaderName = HeaderName::from_static("x-wp-nonce");
/// How much of a reason is quoted.
const MAX_REASON_CHARS: usize = 300;
const FORM: &str = "application/x-www-form-urlencoded";

/// A WordPress behind a door.
pub struct WordPress<'a> {
    trial: &'a Trial,
    door: Door,
}

/// A logged-in author on one connection.
#[derive(Clone, Debug)]
pub struct Author {
    connection: Connection,
    cookies: String,
    nonce: String,
}

/// An uploaded file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// Number in the media library.
    pub id: u64,
    /// Path it is read from.
    pub path: String,
    /// What it contains.
    pub content: Bytes,
}

impl<'a> WordPress<'a> {
    /// The WordPress behind `door`.
    pub fn new(trial: &'a Trial, door: Door) -> Self {
        WordPress { trial, door }
    }

    /// The WordPress behind the trial's front door.
    ///
    /// # Errors
    /// The front door is not known yet.
    pub fn of(trial: &'a Trial) -> Result<Self, String> {
        Ok(WordPress { trial, door: trial.door()?.clone() })
    }

    fn template(&self, method: Method, path: &str) -> Result<Template, String> {
        self.door.template(method, path)
    }

    /// Whether it is installed: the front page answers, or leads to the installation.
    ///
    /// # Errors
    /// What was seen instead.
    pub async fn is_installed(&self) -> Result<bool, String> {
        let page = self.template(Method::GET, "/")?;
        let reply = self.trial.send(&page, Connection::Fresh).await?;
        let location = reply.header(&LOCATION).unwrap_or_default();
        match reply.status {
            200 => Ok(true),
            _ if location.contains("install.php") => Ok(false),
            status => Err(format!("GET /: {status} {location}")),
        }
    }

    /// Installs it, and sees that the front page answers. Once it is installed that changes nothing.
    ///
    /// # Errors
    /// What was seen instead.
    pub async fn install(&self) -> Result<(), String> {
        let form = format!(
            "weblog_title=Seatrial&user_name={USER}&admin_password={PASSWORD}\
             &admin_password2={PASSWORD}&pw_weak=on&admin_email=author%40example.com\
             &blog_public=0&language="
        );
        let post = self.template(Method::POST, "/wp-admin/install.php?step=2")?.body(FORM, form);
        let reply = self.trial.send(&post, Connection::Fresh).await?;
        if reply.status != 200 {
            return Err(format!("POST /wp-admin/install.php: {}", reply.status));
        }
        let page = self.template(Method::GET, "/")?;
        let reply = self.trial.send(&page, Connection::Fresh).await?;
        if reply.status == 200 { Ok(()) } else { Err(format!("GET /: {}", reply.status)) }
    }

    /// Whether the author is registered: not if the site came with an image or with data. WordPress
    /// says so on the login form.
    ///
    /// # Errors
    /// What was seen instead.
    pub async fn knows_author(&self) -> Result<bool, String> {
        let reply = self.ask_for_session(Connection::Fresh).await?;
        is_registered(reply.status, &reply.text())
    }

    async fn ask_for_session(&self, connection: Connection) -> Result<Reply, String> {
        let form = format!("log={USER}&pwd={PASSWORD}&testcookie=1");
        let login = self
            .template(Method::POST, "/wp-login.php")?
            .header(COOKIE, "wordpress_test_cookie=WP%20Cookie%20check")
            .body(FORM, form);
        Ok(self.trial.send(&login, connection).await?)
    }

    /// Logs in on a connection of its own.
    ///
    /// # Errors
    /// What was seen instead.
    pub async fn log_in(&self) -> Result<Author, String> {
        let connection = Connection::Kept(self.trial.unique());
        let reply = self.ask_for_session(connection).await?;
        if reply.status != 302 {
            return Err(format!("POST /wp-login.php: {}", reply.status));
        }
        let cookies = cookies_of(&reply.headers);
        let nonce = self
            .template(Method::GET, "/wp-admin/admin-ajax.php?action=rest-nonce")?
            .header(COOKIE, &cookies);
        let reply = self.trial.send(&nonce, connection).await?;
        if reply.status != 200 {
            return Err(format!(
                "GET /wp-admin/admin-ajax.php?action=rest-nonce: {}",
                reply.status
            ));
        }
        Ok(Author { connection, cookies, nonce: reply.text().trim().to_owned() })
    }

    async fn write(&self, session: &Author, template: Template) -> Result<Value, String> {
        let template = template.header(COOKIE, &session.cookies).header(NONCE, &session.nonce);
        let reply = self.trial.send(&template, session.connection).await?;
        if reply.status != 201 {
            return Err(refusal(reply.status, &reply.body));
        }
        serde_json::from_slice(&reply.body).map_err(|error| format!("malformed answer: {error}"))
    }

    /// Publishes a post and gives its number.
    ///
    /// # Errors
    /// It was not acknowledged.
    pub async fn post(&self, session: &Author, title: &str) -> Result<u64, String> {
        let content = json!({"title": title, "content": title, "status": "publish"});
        let template = self
            .template(Method::POST, "/wp-json/wp/v2/posts")?
            .body("application/json", content.to_string());
        let answer = self.write(session, template).await?;
        answer.get("id").and_then(Value::as_u64).ok_or_else(|| "the answer has no id".into())
    }

    /// Uploads a file.
    ///
    /// # Errors
    /// It was not acknowledged.
    pub async fn upload(
        &self,
        session: &Author,
        name: &str,
        content: Bytes,
    ) -> Result<Media, String> {
        let template = self
            .template(Method::POST, "/wp-json/wp/v2/media")?
            .header(CONTENT_DISPOSITION, &format!("attachment; filename=\"{name}.txt\""))
            .body("text/plain", content.clone());
        let answer = self.write(session, template).await?;
        let id = answer.get("id").and_then(Value::as_u64).ok_or("the answer has no id")?;
        let url = answer.get("source_url").and_then(Value::as_str);
        let url = url.ok_or("the answer has no source_url")?;
        Ok(Media { id, path: path_of(url), content })
    }

    /// Logs in and uploads, again on a new session where one is not accepted.
    ///
    /// # Errors
    /// What the last try saw.
    pub async fn upload_anew(&self, name: &str, content: Bytes) -> Result<Media, String> {
        let mut last = String::new();
        for _ in 0..MAX_TRIES {
            match self.log_in().await {
                Ok(session) => match self.upload(&session, name, content.clone()).await {
                    Ok(media) => return Ok(media),
                    Err(error) => last = error,
                },
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Logs in and posts, again on a new session where one is not accepted.
    ///
    /// # Errors
    /// What the last try saw.
    pub async fn post_anew(&self, title: &str) -> Result<u64, String> {
        let mut last = String::new();
        for _ in 0..MAX_TRIES {
            match self.log_in().await {
                Ok(session) => match self.post(&session, title).await {
                    Ok(id) => return Ok(id),
                    Err(error) => last = error,
                },
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Reads a post back.
    ///
    /// # Errors
    /// It is not there, or is another one.
    pub async fn read_post(&self, id: u64, title: &str) -> Result<(), String> {
        let path = format!("/wp-json/wp/v2/posts/{id}");
        let reply = self.read(&path).await?;
        if reply.text().contains(title) {
            Ok(())
        } else {
            Err(format!("GET {path}: another post than `{title}`"))
        }
    }

    /// Reads an upload back.
    ///
    /// # Errors
    /// It is not there, or its content differs.
    pub async fn read_media(&self, media: &Media) -> Result<(), String> {
        let reply = self.read(&media.path).await?;
        if reply.body == media.content {
            Ok(())
        } else {
            Err(format!("GET {}: {} bytes of another content", media.path, reply.body.len()))
        }
    }

    async fn read(&self, path: &str) -> Result<Reply, String> {
        let reply = self.trial.send(&self.template(Method::GET, path)?, Connection::Fresh).await?;
        if reply.status == 200 { Ok(reply) } else { Err(format!("GET {path}: {}", reply.status)) }
    }
}

/// Whether the author is, by the answer to a login (`wp-login.php`, `login_header`).
fn is_registered(status: u16, page: &str) -> Result<bool, String> {
    match status {
        302 => Ok(true),
        200 if page.contains("id=\"login_error\"") => Ok(false),
        _ => Err(format!("POST /wp-login.php: {status}")),
    }
}

/// What an answer says that is no success, with WordPress' own reason where it gives one
/// (`WP_REST_Server::error_to_response`: `message`).
fn refusal(status: u16, body: &[u8]) -> String {
    let reason = serde_json::from_slice::<Value>(body).ok();
    let reason = reason.as_ref().and_then(|reason| reason["message"].as_str());
    let reason: String = reason.unwrap_or_default().chars().take(MAX_REASON_CHARS).collect();
    let words: Vec<_> = reason.split_whitespace().collect();
    match words.is_empty() {
        true => format!("the write was answered with {status}"),
        false => format!("the write was answered with {status}: {}", words.join(" ")),
    }
}

/// `name=value` of all cookies a response sets.
fn cookies_of(headers: &HeaderMap) -> String {
    let cookies = headers.get_all(SET_COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs: Vec<_> = cookies.filter_map(|cookie| cookie.split(';').next()).collect();
    pairs.join("; ")
}

/// Path and query of a URL.
fn path_of(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.find('/').map_or_else(|| "/".to_owned(), |at| rest[at..].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_an_upload_is_read_from_its_url() {
        assert_eq!(path_of("https://a.example:81/wp-content/x.txt?v=1"), "/wp-content/x.txt?v=1");
        assert_eq!(path_of("http://a.example"), "/");
    }

    #[test]
    fn a_refusal_quotes_what_wordpress_says() {
        let body =
            br#"{"code":"x","message":"Unable to create\ndirectory.","data":{"status":500}}"#;
        let said = "the write was answered with 500: Unable to create directory.";
        assert_eq!(refusal(500, body), said);
        assert_eq!(refusal(503, b"<html>"), "the write was answered with 503");
    }

    #[test]
    fn an_author_who_may_not_log_in_is_not_registered() {
        let refused = "<div id=\"login_error\"><strong>Error:</strong> The username x is not \
                       registered on this site.</div>";
        assert_eq!(is_registered(302, ""), Ok(true));
        assert_eq!(is_registered(200, refused), Ok(false));
        assert!(is_registered(200, "<form id=\"loginform\">").is_err(), "it is the empty form");
        assert!(is_registered(503, refused).is_err());
    }

    #[test]
    fn cookies_are_sent_back_without_their_attributes() {
        let mut headers = HeaderMap::new();
        for cookie in ["a=1; Path=/; HttpOnly", "b=2"] {
            headers.append(SET_COOKIE, cookie.parse().expect("a header value"));
        }
        assert_eq!(cookies_of(&headers), "a=1; b=2");
    }
}
