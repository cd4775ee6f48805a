//! Follows a job's server-sent events.

use anyhow::bail;
use serde_json::Value;

use super::Customer;

impl Customer {
    /// Reads events until the job ends, coming back after a broken connection where it stopped, and tells each
    /// event's kind and percent. Answers the kind of the last one.
    ///
    /// # Errors
    /// The stream breaks ten times.
    pub async fn follow(
        &self,
        job_id: &str,
        mut tell: impl FnMut(&str, Option<u64>),
    ) -> anyhow::Result<String> {
        let mut last_id = "0".to_owned();
        for _connection in 0..10 {
            let path = format!("/jobs/{job_id}/events");
            let request = self.request(reqwest::Method::GET, &path).header("last-event-id", &last_id);
            let mut answer = request.send().await?.error_for_status()?;
            let mut buffer = Vec::new();
            while let Ok(Some(bytes)) = answer.chunk().await {
                buffer.extend_from_slice(&bytes);
                while let Some(end) = buffer.windows(2).position(|pair| pair == b"\n\n") {
                    let frame: Vec<u8> = buffer.drain(..end + 2).collect();
                    let frame = String::from_utf8_lossy(&frame).into_owned();
                    let field =
                        |name: &str| frame.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
                    let Some(kind) = field("event:") else { continue };
                    if let Some(id) = field("id:") {
                        id.clone_into(&mut last_id);
                    }
                    let data: Value =
                        field("data:").and_then(|data| serde_json::from_str(data).ok()).unwrap_or_default();
                    tell(kind, data["percent"].as_u64());
                    if matches!(kind, "completed" | "failed" | "cancelled") {
                        return Ok(kind.to_owned());
                    }
                }
            }
        }
        bail!("the event stream broke ten times")
    }
}
