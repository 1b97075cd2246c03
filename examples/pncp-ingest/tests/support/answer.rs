//! A server with one answer.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Its address, `http://127.0.0.1:…`; it answers every request with these bytes, until the test ends.
pub async fn always(answer: String) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut request = [0; 8192];
            let _ = socket.read(&mut request).await;
            let _ = socket.write_all(answer.as_bytes()).await;
            let _ = socket.shutdown().await;
        }
    });
    endpoint
}
