//! Forms: installation, login, comments, XML-RPC.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};

use super::database::{DbError, error_page};
use super::message::{
    client_ip, cookie, escape, form_value, host, html, php, query_value, redirect, scheme,
};
use super::server::Visit;
use super::session::{self, Session};
use crate::sim::apps::model::AppCx;

/// The cookie that proves that the browser keeps cookies.
const TEST_COOKIE: &str = "wordpress_test_cookie";

/// `/wp-admin/install.php`: the form, or with `step=2` the installation.
pub(super) fn install(
    visit: &mut Visit<'_>,
    request: &Request<Bytes>,
    cx: &mut AppCx<'_>,
) -> Response<Bytes> {
    let found = visit.site(cx);
    match found {
        Ok(()) => return html(StatusCode::OK, ALREADY_INSTALLED),
        Err(DbError::NotInstalled) => {}
        Err(_) => return error_page(),
    }
    let is_second = query_value(request, "step").as_deref() == Some("2");
    if request.method() != Method::POST || !is_second {
        return html(StatusCode::OK, INSTALL_FORM);
    }
    let field = |name: &str| form_value(request.body(), name).unwrap_or_default();
    let (user, password, email) =
        (field("user_name"), field("admin_password"), field("admin_email"));
    if user.is_empty() || password != field("admin_password2") || !email.contains('@') {
        return html(StatusCode::OK, INSTALL_FORM);
    }
    let site_url = format!("{}://{}", scheme(request), host(request));
    let title = field("weblog_title");
    let statement = ["install", &site_url, &title, &user, &password, &email];
    match visit.database.run(&statement, &mut visit.wait, cx) {
        Ok(_) => html(
            StatusCode::OK,
            format!(
                "<!DOCTYPE html>\n<h1>Success!</h1><p>WordPress has been installed.</p><td>{}</td>\n",
                escape(&user)
            ),
        ),
        Err(DbError::Refused(_)) => html(StatusCode::OK, ALREADY_INSTALLED),
        Err(_) => error_page(),
    }
}

const ALREADY_INSTALLED: &str = "<!DOCTYPE html>\n<h1>Already Installed</h1>\
    <p>You appear to have already installed WordPress.</p>\n";
const INSTALL_FORM: &str = "<!DOCTYPE html>\n<h1>Welcome</h1>\
    <form id=\"setup\" method=\"post\" action=\"install.php?step=2\">\
    <input name=\"weblog_title\"><input name=\"user_name\"><input name=\"admin_password\">\
    <input name=\"admin_password2\"><input name=\"admin_email\"></form>\n";

/// `/wp-login.php`: the form, or a login.
pub(super) fn login(
    visit: &mut Visit<'_>,
    request: &Request<Bytes>,
    cx: &mut AppCx<'_>,
) -> Response<Bytes> {
    if let Err(error) = visit.site(cx) {
        return visit.failed(&error, request);
    }
    let site_url = visit.url(request);
    if request.method() != Method::POST {
        return login_form("", &site_url);
    }
    visit.cpu += LOGIN_CPU;
    let field = |name: &str| form_value(request.body(), name).unwrap_or_default();
    if field("testcookie") == "1" && cookie(request, TEST_COOKIE).is_none() {
        let text = "Cookies are blocked or not supported by your browser.";
        return login_form(text, &site_url);
    }
    let (user, password) = (field("log"), field("pwd"));
    match visit.database.run(&["login", &user, &password], &mut visit.wait, cx) {
        Ok(_) => {}
        Err(DbError::Refused(reason)) => {
            let user = escape(&user);
            let text = if reason == "invalid_username" {
                format!("The username <strong>{user}</strong> is not registered on this site.")
            } else {
                format!(
                    "The password you entered for the username <strong>{user}</strong> is incorrect."
                )
            };
            return login_form(&text, &site_url);
        }
        Err(error) => return visit.failed(&error, request),
    }
    let token: String = cx.rng.uuid("wordpress-session").replace('-', "");
    let statement = ["start-session", user.as_str(), &token];
    if let Err(error) = visit.database.run(&statement, &mut visit.wait, cx) {
        return visit.failed(&error, request);
    }
    let to = Some(field("redirect_to")).filter(|to| !to.is_empty());
    let mut response = redirect(&to.unwrap_or_else(|| format!("{site_url}/wp-admin/")));
    session::set_cookies(&mut response, &Session { user, token }, &visit.saved_url(), cx);
    response
}

/// Checking a password costs more than a page: its hash is slow on purpose.
const LOGIN_CPU: Duration = Duration::from_millis(30);

fn login_form(error: &str, site_url: &str) -> Response<Bytes> {
    let error = match error {
        "" => String::new(),
        text => format!("<div id=\"login_error\"><strong>Error:</strong> {text}</div>\n"),
    };
    let mut response = html(
        StatusCode::OK,
        format!(
            "<!DOCTYPE html>\n{error}<form name=\"loginform\" id=\"loginform\" \
             action=\"{site_url}/wp-login.php\" method=\"post\"><input name=\"log\"><input name=\"pwd\">\
             <input type=\"hidden\" name=\"testcookie\" value=\"1\" /></form>\n"
        ),
    );
    let test = HeaderValue::from_static("wordpress_test_cookie=WP%20Cookie%20check; path=/");
    response.headers_mut().append(header::SET_COOKIE, test);
    response
}

/// `/wp-comments-post.php`: stores a comment and returns to its post.
pub(super) fn comment(
    visit: &mut Visit<'_>,
    request: &Request<Bytes>,
    cx: &mut AppCx<'_>,
) -> Response<Bytes> {
    if request.method() != Method::POST {
        return php(StatusCode::METHOD_NOT_ALLOWED, "text/plain", Bytes::new());
    }
    if let Err(error) = visit.site(cx) {
        return visit.failed(&error, request);
    }
    let field = |name: &str| form_value(request.body(), name).unwrap_or_default();
    let (post, author, email) = (field("comment_post_ID"), field("author"), field("email"));
    let text = field("comment");
    if text.is_empty() || author.is_empty() || !email.contains('@') {
        let body = "<p><strong>Error:</strong> Please fill the required fields.</p>";
        return html(StatusCode::OK, body);
    }
    let second = cx.now.whole_seconds().to_string();
    let ip = client_ip(request);
    let statement = ["comment", post.as_str(), &author, &email, &text, ip, &second];
    match visit.database.run(&statement, &mut visit.wait, cx) {
        Ok(fields) => {
            let id = fields.first().map_or("", String::as_str);
            redirect(&format!("{}/?p={post}#comment-{id}", visit.url(request)))
        }
        Err(DbError::Refused(reason)) if reason == "comment_flood" => {
            let body = "<p>You are posting comments too quickly. Slow down.</p>";
            html(StatusCode::TOO_MANY_REQUESTS, body)
        }
        Err(DbError::Refused(_)) => html(StatusCode::OK, Bytes::new()),
        Err(error) => visit.failed(&error, request),
    }
}

/// `/xmlrpc.php`: the two methods that need no account.
pub(super) fn xmlrpc(
    visit: &mut Visit<'_>,
    request: &Request<Bytes>,
    cx: &mut AppCx<'_>,
) -> Response<Bytes> {
    if request.method() != Method::POST {
        let text = Bytes::from_static(b"XML-RPC server accepts POST requests only.");
        return php(StatusCode::METHOD_NOT_ALLOWED, "text/plain;charset=UTF-8", text);
    }
    if let Err(error) = visit.site(cx) {
        return visit.failed(&error, request);
    }
    let body = String::from_utf8_lossy(request.body());
    let value = if body.contains("demo.sayHello") {
        "<string>Hello!</string>"
    } else if body.contains("system.listMethods") {
        "<array><data><value><string>system.listMethods</string></value>\
         <value><string>demo.sayHello</string></value></data></array>"
    } else {
        "<int>-32601</int>"
    };
    let answer = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<methodResponse><params><param><value>{value}\
         </value></param></params></methodResponse>\n"
    );
    php(StatusCode::OK, "text/xml; charset=UTF-8", Bytes::from(answer))
}
