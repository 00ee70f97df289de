//! Pages: the front page with the newest posts, one post, and the files Apache serves by itself.

use std::fmt::Write as _;

use bytes::Bytes;
use http::{Response, StatusCode};

use super::entrypoint::{INDEX, ROOT};
use super::message::{escape, html, plain};
use crate::sim::apps::model::AppCx;

/// The front page as it was last read from the database.
#[derive(Debug, Default)]
pub(super) struct Site {
    /// Revision of the database it was read at.
    pub revision: String,
    /// `siteurl`, as it was saved at the installation.
    pub url: String,
    /// Name of the site.
    pub title: String,
    /// Newest posts: id, title, content.
    posts: Vec<[String; 3]>,
    /// The rendered page by scheme.
    rendered: [Option<Bytes>; 2],
}

impl Site {
    /// Reads the answer of the database: revision, URL, title, then the posts.
    pub(super) fn read(fields: &[String]) -> Option<Site> {
        let [revision, url, title, posts @ ..] = fields else {
            return None;
        };
        let posts = posts.chunks_exact(3).map(|post| post.to_vec().try_into().unwrap_or_default());
        Some(Site {
            revision: revision.clone(),
            url: url.clone(),
            title: title.clone(),
            posts: posts.collect(),
            rendered: [None, None],
        })
    }

    /// The site's URL; over TLS links are https whatever was saved (`wp-includes/link-template.php:set_url_scheme`).
    pub(super) fn url_for(&self, scheme: &str) -> String {
        let rest = self.url.split_once("://").map_or(self.url.as_str(), |(_, rest)| rest);
        let saved_tls = self.url.starts_with("https://");
        format!("{}://{rest}", if saved_tls { "https" } else { scheme })
    }

    /// The front page.
    pub(super) fn front(&mut self, scheme: &str) -> Response<Bytes> {
        let idx = usize::from(scheme == "https");
        let body = match &self.rendered[idx] {
            Some(body) => body.clone(),
            None => {
                let body = Bytes::from(self.render(scheme));
                self.rendered[idx] = Some(body.clone());
                body
            }
        };
        html(StatusCode::OK, body)
    }

    fn render(&self, scheme: &str) -> String {
        let url = self.url_for(scheme);
        let mut body = head(&self.title, &url);
        for [id, title, content] in &self.posts {
            let title = escape(title);
            let _ = write!(
                body,
                "<article id=\"post-{id}\" class=\"post-{id} post type-post status-publish\">\n\
                 <h2 class=\"entry-title\"><a href=\"{url}/?p={id}\" rel=\"bookmark\">{title}</a></h2>\n\
                 <div class=\"entry-content\"><p>{content}</p></div>\n</article>\n"
            );
        }
        body.push_str("</main>\n</body>\n</html>\n");
        body
    }

    /// The page of one post.
    pub(super) fn post(
        &self,
        id: &str,
        title: &str,
        content: &str,
        scheme: &str,
    ) -> Response<Bytes> {
        let url = self.url_for(scheme);
        let title = escape(title);
        let mut body = head(&format!("{title} &#8211; {}", escape(&self.title)), &url);
        let _ = write!(
            body,
            "<article id=\"post-{id}\" class=\"post-{id} post type-post status-publish\">\n\
             <h1 class=\"entry-title\">{title}</h1>\n<div class=\"entry-content\"><p>{content}</p></div>\n\
             <form action=\"{url}/wp-comments-post.php\" method=\"post\" id=\"commentform\">\
             <input type=\"hidden\" name=\"comment_post_ID\" value=\"{id}\"></form>\n\
             </article>\n</main>\n</body>\n</html>\n"
        );
        html(StatusCode::OK, body)
    }

    /// The page for what does not exist.
    pub(super) fn not_found(&self, scheme: &str) -> Response<Bytes> {
        let mut body = head("Page not found", &self.url_for(scheme));
        body.push_str("<h1>Oops! That page can&rsquo;t be found.</h1></main>\n</body>\n</html>\n");
        html(StatusCode::NOT_FOUND, body)
    }
}

fn head(title: &str, url: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en-US\">\n<head>\n<meta charset=\"UTF-8\">\n<title>{title}</title>\n\
         <link rel='stylesheet' href='{url}/wp-includes/css/dist/block-library/style.min.css' media='all' />\n\
         <link rel=\"https://api.w.org/\" href=\"{url}/wp-json/\" />\n\
         <meta name=\"generator\" content=\"WordPress 6.8.3\" />\n</head>\n<body class=\"home blog\">\n<main>\n"
    )
}

/// A file below the document root, served without PHP: an upload, or part of WordPress itself.
pub(super) fn static_file(path: &str, cx: &AppCx<'_>) -> Option<Response<Bytes>> {
    let (stem, extension) = path.rsplit_once('.')?;
    let content_type = match extension {
        "html" => "text/html",
        "txt" => "text/plain",
        "css" => "text/css",
        "js" => "text/javascript",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "svg" => "image/svg+xml",
        "pdf" => "application/pdf",
        "ico" => "image/vnd.microsoft.icon",
        _ => return None,
    };
    if path.starts_with("/wp-content/uploads/") {
        let content = cx.files.read(&format!("{ROOT}{}", &path[1..]))?;
        return Some(plain(StatusCode::OK, content_type, content));
    }
    let is_core = matches!(path, "/readme.html" | "/license.txt")
        || ["/wp-includes/", "/wp-admin/", "/wp-content/themes/"]
            .iter()
            .any(|folder| stem.starts_with(folder));
    let body = Bytes::from(format!("WordPress {path}\n"));
    (is_core && cx.files.read(INDEX).is_some()).then(|| plain(StatusCode::OK, content_type, body))
}
