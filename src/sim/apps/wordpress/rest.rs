//! The REST API: posts and media (`wp-includes/rest-api/endpoints`).

use bytes::Bytes;
use http::header::CONTENT_DISPOSITION;
use http::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::database::DbError;
use super::entrypoint::ROOT;
use super::message::{json, query_value};
use super::server::Visit;
use super::session::{self, Session};
use crate::sim::apps::model::AppCx;

/// `/wp-json<route>`, or `?rest_route=<route>`.
pub(super) fn serve(
    route: &str,
    visit: &mut Visit<'_>,
    request: &Request<Bytes>,
    cx: &mut AppCx<'_>,
) -> Response<Bytes> {
    if let Err(error) = visit.site(cx) {
        return visit.failed(&error, request);
    }
    let site_url = visit.url(request);
    let caller = match caller(visit, request, cx) {
        Ok(caller) => caller,
        Err(response) => return *response,
    };
    let route = route.trim_end_matches('/');
    let is_post = request.method() == Method::POST;
    let answered = match (route, route.strip_prefix("/wp/v2/posts/")) {
        ("/wp/v2/posts", _) if is_post => create_post(caller, &site_url, visit, request, cx),
        ("/wp/v2/media", _) if is_post => create_media(caller, &site_url, visit, request, cx),
        (_, Some(id)) => read_post(id, &site_url, visit, cx),
        ("", _) => Ok(json(StatusCode::OK, &json!({"url": site_url, "namespaces": ["wp/v2"]}))),
        _ => Ok(refusal(
            StatusCode::NOT_FOUND,
            "rest_no_route",
            "No route was found matching the URL and request method.",
        )),
    };
    answered.unwrap_or_else(|error| visit.failed(&error, request))
}

/// `/wp-admin/admin-ajax.php?action=rest-nonce`: the nonce, or 400 with `0` for a stranger.
pub(super) fn ajax(
    visit: &mut Visit<'_>,
    request: &Request<Bytes>,
    cx: &mut AppCx<'_>,
) -> Response<Bytes> {
    if let Err(error) = visit.site(cx) {
        return visit.failed(&error, request);
    }
    let stranger = || super::message::html(StatusCode::BAD_REQUEST, "0");
    if query_value(request, "action").as_deref() != Some("rest-nonce") {
        return stranger();
    }
    match logged_in(visit, request, cx) {
        Ok(Some(session)) => super::message::html(StatusCode::OK, session::nonce(&session, cx)),
        Ok(None) => stranger(),
        Err(error) => visit.failed(&error, request),
    }
}

/// The session of the request, if its cookie is signed by this copy and the database knows it.
pub(super) fn logged_in(
    visit: &mut Visit<'_>,
    request: &Request<Bytes>,
    cx: &mut AppCx<'_>,
) -> Result<Option<Session>, DbError> {
    let Some(session) = session::of(request, &visit.saved_url(), cx) else {
        return Ok(None);
    };
    let statement = ["session", session.user.as_str(), &session.token];
    match visit.database.run(&statement, &mut visit.wait, cx) {
        Ok(_) => Ok(Some(session)),
        Err(DbError::Refused(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Who asks: a cookie counts only with a nonce; a wrong nonce is an error
/// (`rest-api.php:rest_cookie_check_errors`).
fn caller(
    visit: &mut Visit<'_>,
    request: &Request<Bytes>,
    cx: &mut AppCx<'_>,
) -> Result<Option<Session>, Box<Response<Bytes>>> {
    let header = request.headers().get("x-wp-nonce").and_then(|nonce| nonce.to_str().ok());
    let nonce = header.map(str::to_owned).or_else(|| query_value(request, "_wpnonce"));
    let Some(nonce) = nonce else {
        return Ok(None);
    };
    let session = match logged_in(visit, request, cx) {
        Ok(session) => session,
        Err(error) => return Err(Box::new(visit.failed(&error, request))),
    };
    match session {
        Some(session) if session::is_nonce(&nonce, &session, cx) => Ok(Some(session)),
        _ => Err(Box::new(refusal(
            StatusCode::FORBIDDEN,
            "rest_cookie_invalid_nonce",
            "Cookie check failed",
        ))),
    }
}

fn create_post(
    caller: Option<Session>,
    site_url: &str,
    visit: &mut Visit<'_>,
    request: &Request<Bytes>,
    cx: &mut AppCx<'_>,
) -> Result<Response<Bytes>, DbError> {
    let Some(session) = caller else {
        return Ok(refusal(
            StatusCode::UNAUTHORIZED,
            "rest_cannot_create",
            "Sorry, you are not allowed to create posts as this user.",
        ));
    };
    let Ok(body) = serde_json::from_slice::<Value>(request.body()) else {
        let text = "Invalid JSON body passed.";
        return Ok(refusal(StatusCode::BAD_REQUEST, "rest_invalid_json", text));
    };
    let text = |name: &str| match &body[name] {
        Value::String(text) => text.clone(),
        other => other["raw"].as_str().unwrap_or("").to_owned(),
    };
    let (title, content, date) = (text("title"), text("content"), date(cx));
    if title.is_empty() && content.is_empty() {
        return Ok(refusal(
            StatusCode::BAD_REQUEST,
            "empty_content",
            "Content, title, and excerpt are empty.",
        ));
    }
    let statement = ["post", title.as_str(), &content, &session.user, &date];
    let fields = visit.database.run(&statement, &mut visit.wait, cx)?;
    let id = fields.first().map_or("", String::as_str);
    let value = post_json(site_url, id, &["post", &title, &content, &session.user, &date]);
    Ok(created(site_url, "posts", id, &value))
}

fn read_post(
    id: &str,
    site_url: &str,
    visit: &mut Visit<'_>,
    cx: &mut AppCx<'_>,
) -> Result<Response<Bytes>, DbError> {
    match visit.database.run(&["get", id], &mut visit.wait, cx) {
        Ok(fields) if fields.get(1).is_some_and(|kind| kind == "post") => {
            let row: Vec<&str> = fields[1..].iter().map(String::as_str).collect();
            Ok(json(StatusCode::OK, &post_json(site_url, id, &row)))
        }
        Ok(_) | Err(DbError::Refused(_)) => {
            Ok(refusal(StatusCode::NOT_FOUND, "rest_post_invalid_id", "Invalid post ID."))
        }
        Err(error) => Err(error),
    }
}

fn create_media(
    caller: Option<Session>,
    site_url: &str,
    visit: &mut Visit<'_>,
    request: &Request<Bytes>,
    cx: &mut AppCx<'_>,
) -> Result<Response<Bytes>, DbError> {
    let Some(session) = caller else {
        return Ok(refusal(
            StatusCode::UNAUTHORIZED,
            "rest_cannot_create",
            "Sorry, you are not allowed to upload media on this site.",
        ));
    };
    let Some(name) = file_name(request) else {
        return Ok(refusal(
            StatusCode::BAD_REQUEST,
            "rest_upload_no_content_disposition",
            "No Content-Disposition supplied.",
        ));
    };
    let folder = format!("wp-content/uploads/{}", cx.now.timestamp().strftime("%Y/%m"));
    let name = unique_name(&folder, &name, cx);
    let path = format!("{ROOT}{folder}/{name}");
    if !cx.files.write(&path, request.body().clone()) {
        let text = format!(
            "Unable to create directory {folder}. Is its parent directory writable by the server?"
        );
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        return Ok(refusal(status, "rest_upload_sideload_error", &text));
    }
    let source = format!("{site_url}/{folder}/{name}");
    let title = name.rsplit_once('.').map_or(name.as_str(), |(stem, _)| stem);
    let date = date(cx);
    let statement = ["attach", title, &source, &session.user, &date];
    let fields = visit.database.run(&statement, &mut visit.wait, cx)?;
    let id = fields.first().map_or("", String::as_str);
    let value = json!({
        "id": id.parse::<u64>().unwrap_or(0), "date": date, "slug": title, "type": "attachment",
        "status": "inherit", "title": {"raw": title, "rendered": title},
        "link": format!("{site_url}/?attachment_id={id}"), "source_url": source,
    });
    Ok(created(site_url, "media", id, &value))
}

/// The file name of `Content-Disposition: attachment; filename="a.txt"`, without its folders.
fn file_name(request: &Request<Bytes>) -> Option<String> {
    let value = request.headers().get(CONTENT_DISPOSITION)?.to_str().ok()?;
    let (_, name) = value.split_once("filename=")?;
    let name = name.split(';').next()?.trim().trim_matches('"');
    let name = name.rsplit('/').next()?;
    let clean: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' })
        .collect();
    (!clean.is_empty()).then_some(clean)
}

/// A name that is not taken: `a.txt`, `a-1.txt`, ... (`functions.php:wp_unique_filename`).
fn unique_name(folder: &str, name: &str, cx: &AppCx<'_>) -> String {
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    let mut candidate = name.to_owned();
    let mut n = 0;
    while cx.files.read(&format!("{ROOT}{folder}/{candidate}")).is_some() {
        n += 1;
        candidate = format!("{stem}-{n}.{extension}");
    }
    candidate
}

fn date(cx: &AppCx<'_>) -> String {
    cx.now.timestamp().strftime("%Y-%m-%dT%H:%M:%S").to_string()
}

fn post_json(site_url: &str, id: &str, row: &[&str]) -> Value {
    let field = |idx: usize| row.get(idx).copied().unwrap_or("");
    let (title, content) = (field(1), field(2));
    json!({
        "id": id.parse::<u64>().unwrap_or(0),
        "date": field(4),
        "guid": {"rendered": format!("{site_url}/?p={id}")},
        "slug": title.to_lowercase().replace(' ', "-"),
        "status": "publish",
        "type": "post",
        "link": format!("{site_url}/?p={id}"),
        "title": {"raw": title, "rendered": title},
        "content": {"raw": content, "rendered": format!("<p>{content}</p>\n"), "protected": false},
    })
}

fn created(site_url: &str, kind: &str, id: &str, value: &Value) -> Response<Bytes> {
    let mut response = json(StatusCode::CREATED, value);
    let location = format!("{site_url}/wp-json/wp/v2/{kind}/{id}");
    if let Ok(location) = http::HeaderValue::try_from(location) {
        response.headers_mut().insert(http::header::LOCATION, location);
    }
    response
}

fn refusal(status: StatusCode, code: &str, message: &str) -> Response<Bytes> {
    let data = json!({"status": status.as_u16()});
    json(status, &json!({"code": code, "message": message, "data": data}))
}
