use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path as FilePath;

use axum::http::Request;
use flate2::read::GzDecoder;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::*;

async fn get(path: &str, headers: &[(&'static str, &str)]) -> Response {
    let builder = Request::builder().uri(path);
    let request = headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value));
    routes::<()>().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

async fn bytes(response: Response) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

#[tokio::test]
async fn redirects_to_its_folder_by_a_relative_reference() {
    let response = get("/console", &[]).await;
    assert_eq!(response.status(), StatusCode::PERMANENT_REDIRECT);
    assert_eq!(response.headers()["location"], "console/");
    assert_eq!(get("/console?a=b%20c", &[]).await.headers()["location"], "console/?a=b%20c");
}

#[tokio::test]
async fn a_file_is_sent_gzipped_or_plain_with_one_validator() {
    let plain = get("/console/app.mjs", &[]).await;
    let etag = plain.headers()["etag"].clone();
    assert_eq!(plain.headers()["content-type"], "text/javascript; charset=utf-8");
    let packed = get("/console/app.mjs", &[("accept-encoding", "gzip")]).await;
    assert_eq!(packed.headers()["content-encoding"], "gzip");
    assert_eq!(packed.headers()["etag"], etag);
    let (plain, packed) = (bytes(plain).await, bytes(packed).await);
    let mut unpacked = Vec::new();
    GzDecoder::new(&*packed).read_to_end(&mut unpacked).unwrap();
    assert_eq!(unpacked, plain);
    assert_eq!(plain, include_bytes!("../../console/app.mjs").as_slice());
}

#[tokio::test]
async fn a_file_that_the_browser_has_is_not_sent_again() {
    let etag = get("/console/", &[]).await.headers()["etag"].to_str().unwrap().to_owned();
    for known in [&*etag, etag.trim_start_matches("W/"), &format!("\"other\", {etag}"), "*"] {
        let response = get("/console/", &[("if-none-match", known)]).await;
        assert_eq!(response.status(), StatusCode::NOT_MODIFIED, "{known}");
        assert!(response.headers().contains_key("content-security-policy"));
        assert!(bytes(response).await.is_empty());
    }
    assert_eq!(get("/console/", &[("if-none-match", "\"other\"")]).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn every_file_has_a_policy_that_allows_nothing_inline_or_from_elsewhere() {
    for file in &FILES {
        let response = get(&format!("/console/{}", file.name), &[]).await;
        assert_eq!(response.status(), StatusCode::OK, "{}", file.name);
        let policy = response.headers()["content-security-policy"].to_str().unwrap();
        assert!(
            policy.starts_with("default-src 'none';")
                && policy.contains("require-trusted-types-for 'script'")
        );
        assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        assert_eq!(response.headers()["referrer-policy"], "no-referrer");
    }
}

#[tokio::test]
async fn other_paths_below_the_folder_are_404() {
    for path in ["/console/x", "/console/vendor/", "/console/../openapi.yaml", "/console/index.html/"] {
        assert_eq!(get(path, &[]).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
}

/// The files of a folder that browsers load.
fn on_disk(folder: &str) -> BTreeSet<String> {
    let root = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("console");
    std::fs::read_dir(root.join(folder))
        .unwrap()
        .map(|entry| format!("{folder}{}", entry.unwrap().file_name().to_str().unwrap()))
        .filter(|name| [".html", ".css", ".svg", ".mjs"].iter().any(|ending| name.ends_with(ending)))
        .collect()
}

#[test]
fn all_files_of_the_folder_are_served_and_modules_are_loaded_at_once() {
    let served: BTreeSet<_> = FILES.iter().map(|file| file.name.to_owned()).collect();
    assert_eq!(served, &on_disk("") | &on_disk("vendor/"));
    let page = include_str!("../../console/index.html");
    for module in served.iter().filter(|name| name.ends_with(".mjs") && *name != "main.mjs") {
        assert!(page.contains(&format!("<link rel=\"modulepreload\" href=\"{module}\">")), "{module}");
    }
}
