use std::path::{Path, PathBuf};

use super::*;

/// What goes to the address of an answer beside the content.
fn sent(answer: &str) -> HeaderMap {
    let own = Url::parse("https://git.example.com/a/b.git").unwrap();
    let token = Some("t0ken".to_owned().into());
    let server = Server::new(&own, token, Reach::Public).unwrap();
    let contents = Store {
        server: &server,
        endpoint: endpoint(own.as_str()),
        contents: Contents {
            workspace: Path::new("/"),
            temporary: PathBuf::new(),
        },
        reference: "refs/heads/a",
        most: 1,
    };
    let answer: Answered = serde_json::from_str(answer).unwrap();
    let action = answer.actions.as_ref().unwrap().upload.as_ref().unwrap();
    let url = contents.address(action).unwrap();
    let request = server.client.put(url.clone());
    let (request, _) = contents.as_told(request, &url, &answer, action).unwrap();
    request.build().unwrap().headers().clone()
}

#[test]
fn the_token_goes_to_the_repositorys_own_server_alone_and_headers_as_they_were_given() {
    let to = |href: &str, header: &str, more: &str| {
        sent(&format!(
            r#"{{"oid":"a","size":1{more},"actions":{{"upload":{{"href":"{href}","header":{header}}}}}}}"#
        ))
    };
    let (own, other) = ("https://git.example.com/x", "https://s3.example.com/x");
    let mine = to(own, "null", "");
    assert!(
        mine[header::AUTHORIZATION]
            .to_str()
            .unwrap()
            .starts_with("Basic ")
    );
    assert_eq!(mine[header::CONTENT_TYPE], "application/octet-stream");
    assert!(!to(own, "{}", r#","authenticated":true"#).contains_key(header::AUTHORIZATION));
    for href in [other, "https://git.example.com.evil.example/x"] {
        assert!(!to(href, "{}", "").contains_key(header::AUTHORIZATION));
    }
    let given =
        r#"{"Authorization":"Bearer theirs","X-A":"b","Content-Type":"text/plain","Host":"x"}"#;
    for href in [own, other] {
        let given = to(href, given, "");
        assert_eq!(given.get_all(header::AUTHORIZATION).iter().count(), 1);
        assert_eq!(given[header::AUTHORIZATION], "Bearer theirs");
        assert_eq!(
            (&given["x-a"], &given[header::CONTENT_TYPE]),
            (&"b".parse().unwrap(), &"text/plain".parse().unwrap())
        );
        assert!(!given.contains_key(header::HOST));
    }
}

#[test]
fn a_server_names_itself_or_what_the_policy_allows() {
    let is_taken = |own: &str, reach, url: &str| {
        let (own, url) = (Url::parse(own).unwrap(), Url::parse(url).unwrap());
        elsewhere(&own, reach, &url).is_none()
    };
    let (public, local) = ("https://github.com/a/b", "http://127.0.0.1:3000/r");
    for reach in [Reach::Public, Reach::Anywhere] {
        assert!(is_taken(public, reach, "https://github.com/x"));
        assert!(is_taken(public, reach, "https://s3.example.com/x?sig=1"));
        assert!(is_taken(local, reach, "http://127.0.0.1:3000/x"));
        for url in [
            "http://s3.example.com/x",
            "https://127.0.0.1/x",
            "https://169.254.169.254/x",
            "https://store.internal/x",
            "http://github.com/x",
            "file:///etc/passwd",
        ] {
            assert!(!is_taken(public, reach, url), "{url}");
        }
    }
    assert!(!is_taken(
        public,
        Reach::Public,
        "https://s3.example.com:9000/x"
    ));
    assert!(is_taken(local, Reach::Anywhere, "https://10.0.0.7:9000/x"));
    assert!(!is_taken(local, Reach::Anywhere, "http://127.0.0.1:3001/x"));
}

#[test]
fn a_server_that_is_reached_by_ssh_names_https_or_itself_where_it_is_near() {
    let is_taken = |host: &str, href: &str| named_by_ssh(host, href).is_ok();
    assert!(is_taken("github.com", "https://lfs.github.com/a/b"));
    assert!(is_taken("github.com", "https://github.com:8443/a"));
    assert!(is_taken(
        "127.0.0.1",
        "http://127.0.0.1:3000/r.git/info/lfs"
    ));
    assert!(is_taken("::1", "http://[::1]:3000/r"));
    assert!(is_taken("10.0.0.7", "https://10.0.0.8/r"));
    for (host, href) in [
        ("github.com", "http://github.com/a"),
        ("github.com", "https://169.254.169.254/latest"),
        ("github.com", "https://localhost/a"),
        ("127.0.0.1", "http://127.0.0.2/a"),
        ("127.0.0.1", "file:///etc"),
        ("127.0.0.1", ""),
    ] {
        assert!(!is_taken(host, href), "{host}: {href}");
    }
}
