//! A client of a few lines: one connection a request, raw answers.
#![allow(
    unreachable_pub,
    dead_code,
    reason = "shared by three test programs, each of which uses a part"
)]
#![allow(
    clippy::unwrap_used,
    let_underscore_drop,
    reason = "tests stop at the first surprise"
)]

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub struct Reply {
    pub status: u16,
    pub head: String,
    /// As received, chunks undone; what there was of it if the connection broke.
    pub body: Vec<u8>,
    /// Whether the body ended as its framing promised.
    pub whole: bool,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

pub async fn request(method: &str, base: &str, path: &str) -> Reply {
    let address = base.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let text = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut raw = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut raw)).await;
    // A reset in mid-body is an answer too.
    let _ = read.unwrap();
    let split = raw.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(raw[..split].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut reply = Reply {
        status,
        head,
        body: raw[split + 4..].to_vec(),
        whole: true,
    };
    if let Some(length) = reply.header("content-length") {
        reply.whole = length.parse::<usize>().unwrap() == reply.body.len();
    } else if reply.header("transfer-encoding").is_some() {
        (reply.body, reply.whole) = unchunk(&reply.body);
    }
    reply
}

pub async fn get(base: &str, path: &str) -> Reply {
    request("GET", base, path).await
}

fn unchunk(mut raw: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some(end) = raw.windows(2).position(|w| w == b"\r\n") else {
            return (body, false);
        };
        let size = std::str::from_utf8(&raw[..end]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return (body, true);
        }
        let chunk = &raw[end + 2..];
        if chunk.len() < size + 2 {
            body.extend_from_slice(chunk);
            return (body, false);
        }
        body.extend_from_slice(&chunk[..size]);
        raw = &chunk[size + 2..];
    }
}

/// The path of a page of `/publicacao`, one day.
pub fn publicacao(day: &str, modalidade: u32, page: u64, size: u64) -> String {
    list("publicacao", day, modalidade, page, size)
}

pub fn list(kind: &str, day: &str, modalidade: u32, page: u64, size: u64) -> String {
    format!(
        "/api/consulta/v1/contratacoes/{kind}?dataInicial={day}&dataFinal={day}&codigoModalidadeContratacao={modalidade}&pagina={page}&tamanhoPagina={size}"
    )
}

pub fn below(cnpj: &str, ano: i32, sequencial: u32, rest: &str) -> String {
    format!("/api/pncp/v1/orgaos/{cnpj}/compras/{ano}/{sequencial}{rest}")
}
