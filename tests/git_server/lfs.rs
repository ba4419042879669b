//! Where Git LFS keeps its objects: its batch API and plain downloads and uploads, in the folder `lfs`.
//! Where there is a file `lfs-full`, nothing more is taken. What was verified is listed in
//! `lfs-verified`.

use std::fs;
use std::path::Path;

use axum::body::{Body, Bytes};
use axum::http::{Method, Response, StatusCode, header};
use serde_json::{Value, json};

/// What a request for LFS is answered with; none where it is for git. `base` is this server's address.
pub(super) fn answer(
    root: &Path,
    base: &str,
    (method, path): (&Method, &str),
    body: &Bytes,
) -> Option<Response<Body>> {
    let (repository, rest) = path.split_once("/info/lfs/")?;
    let folder = root.join("lfs");
    if rest == "objects/batch" {
        let asked: Value = serde_json::from_slice(body).unwrap();
        let answer = batch(&folder, &format!("{base}{repository}/info/lfs"), &asked);
        let response = Response::builder()
            .header(header::CONTENT_TYPE, "application/vnd.git-lfs+json")
            .body(Body::from(answer.to_string()));
        return response.ok();
    }
    if rest == "verify" {
        let asked: Value = serde_json::from_slice(body).unwrap();
        let oid = asked["oid"].as_str().unwrap();
        let stored = fs::metadata(folder.join(oid)).unwrap();
        assert_eq!(asked["size"], stored.len());
        let path = root.join("lfs-verified");
        let before = fs::read_to_string(&path).unwrap_or_default();
        fs::write(path, format!("{before}{oid}\n")).unwrap();
        return Some(status(StatusCode::OK));
    }
    let Some(oid) = rest.strip_prefix("store/").filter(|oid| !oid.contains('/')) else {
        // No locks.
        return Some(status(StatusCode::NOT_FOUND));
    };
    if *method == Method::PUT && root.join("lfs-full").exists() {
        let response = Response::builder().status(StatusCode::INSUFFICIENT_STORAGE);
        let why = json!({"message": "the store is full"}).to_string();
        return response.body(Body::from(why)).ok();
    }
    if *method == Method::PUT {
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(oid), body).unwrap();
        return Some(status(StatusCode::OK));
    }
    Some(match fs::read(folder.join(oid)) {
        Ok(content) => Response::new(Body::from(content)),
        Err(_) => status(StatusCode::NOT_FOUND),
    })
}

fn status(status: StatusCode) -> Response<Body> {
    let response = Response::builder().status(status);
    response.body(Body::empty()).unwrap()
}

fn batch(folder: &Path, base: &str, asked: &Value) -> Value {
    let operation = asked["operation"].as_str().unwrap();
    let objects = asked["objects"].as_array().unwrap().iter().map(|object| {
        let oid = object["oid"].as_str().unwrap();
        let is_there = folder.join(oid).exists();
        let mut answer = json!({"oid": oid, "size": object["size"]});
        let mut action = json!({operation: {"href": format!("{base}/store/{oid}")}});
        if operation == "upload" {
            action["verify"] = json!({"href": format!("{base}/verify")});
        }
        if operation == "upload" && is_there {
            return answer;
        }
        if operation == "download" && !is_there {
            answer["error"] = json!({"code": 404, "message": "there is none"});
        } else {
            answer["actions"] = action;
        }
        answer
    });
    json!({"transfer": "basic", "objects": objects.collect::<Vec<_>>()})
}
