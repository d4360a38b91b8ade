//! `/v1/files`: uploads are read to their end, but only the beginning is kept.

use std::sync::Arc;

use axum::Json;
use axum::extract::multipart::{Field, MultipartError, MultipartRejection};
use axum::extract::{Multipart, Path, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{StatusCode, Uri, header};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use time::{Duration, OffsetDateTime};

use super::error::ApiError;
use super::paging::Paging;
use super::shelf::{Identified, Shelf};
use super::{Standin, lock, rfc3339};
use crate::audit::to_hex;

const MAX_FILES: usize = 100;
const MAX_KEPT_BYTES: usize = 1024 * 1024;
const MAX_EXPIRES_IN_SECONDS: i64 = 365 * 24 * 3600;

pub type Files = Shelf<File>;

pub fn empty() -> Files {
    Shelf::new(MAX_FILES)
}

/// One uploaded file.
#[derive(Debug)]
pub struct File {
    id: String,
    created: OffsetDateTime,
    expires: Option<OffsetDateTime>,
    content: Content,
}

impl Identified for File {
    fn id(&self) -> &str {
        &self.id
    }
}

impl File {
    fn is_kept_whole(&self) -> bool {
        self.content.kept.len() as u64 == self.content.size_bytes
    }

    /// `standin_sha256` is not the API's: it lets a test compare what arrived.
    fn to_json(&self) -> Value {
        json!({
            "id": self.id,
            "type": "file",
            "filename": self.content.filename,
            "mime_type": self.content.mime_type,
            "size_bytes": self.content.size_bytes,
            "created_at": rfc3339(self.created),
            "expires_at": self.expires.map(rfc3339),
            "downloadable": self.is_kept_whole(),
            "standin_sha256": self.content.sha256,
        })
    }
}

/// What a multipart field held.
#[derive(Debug)]
struct Content {
    filename: String,
    mime_type: String,
    size_bytes: u64,
    sha256: String,
    kept: Bytes,
}

impl Content {
    async fn read(mut field: Field<'_>) -> Result<Self, ApiError> {
        let filename = field.file_name().unwrap_or("unnamed").to_owned();
        let mime_type = field.content_type().unwrap_or("application/octet-stream").to_owned();
        let (mut hash, mut size_bytes, mut kept) = (Sha256::new(), 0, Vec::new());
        while let Some(chunk) = field.chunk().await.map_err(|error| unreadable(&error))? {
            size_bytes += chunk.len() as u64;
            hash.update(&chunk);
            let room = MAX_KEPT_BYTES - kept.len();
            kept.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
        }
        Ok(Self { filename, mime_type, size_bytes, sha256: to_hex(&hash.finalize()), kept: Bytes::from(kept) })
    }
}

pub async fn upload(
    State(standin): State<Arc<Standin>>,
    form: Result<Multipart, MultipartRejection>,
) -> Result<Json<Value>, ApiError> {
    let mut form = form.map_err(|rejection| no_form(&rejection))?;
    let (mut content, mut lifetime) = (None, None);
    while let Some(field) = form.next_field().await.map_err(|error| unreadable(&error))? {
        match field.name() {
            Some("file") => content = Some(Content::read(field).await?),
            Some("expires_in_seconds") => lifetime = Some(read_lifetime(field).await?),
            _ => {}
        }
    }
    let created = OffsetDateTime::now_utc();
    let file = File {
        id: format!("file_standin_{}", standin.next_serial()),
        created,
        expires: lifetime.map(|lifetime| created + lifetime),
        content: content.ok_or_else(|| ApiError::invalid("file: Field required"))?,
    };
    let shown = file.to_json();
    lock(&standin.files).put(file);
    Ok(Json(shown))
}

pub async fn list(State(standin): State<Arc<Standin>>, uri: Uri) -> Result<Json<Value>, ApiError> {
    let paging = Paging::of(&uri)?;
    let shown: Vec<Value> = lock(&standin.files).iter().map(File::to_json).collect();
    Ok(Json(paging.cut(&shown)))
}

pub async fn retrieve(State(standin): State<Arc<Standin>>, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    let files = lock(&standin.files);
    let file = files.find(&id).ok_or_else(|| unknown(&id))?;
    Ok(Json(file.to_json()))
}

pub async fn content(State(standin): State<Arc<Standin>>, Path(id): Path<String>) -> Result<Response, ApiError> {
    let files = lock(&standin.files);
    let file = files.find(&id).ok_or_else(|| unknown(&id))?;
    if !file.is_kept_whole() {
        return Err(ApiError::invalid(format!("File {id} is not downloadable.")));
    }
    let kind = [(header::CONTENT_TYPE, file.content.mime_type.clone())];
    Ok((kind, file.content.kept.clone()).into_response())
}

pub async fn delete(State(standin): State<Arc<Standin>>, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    lock(&standin.files).remove(&id).ok_or_else(|| unknown(&id))?;
    Ok(Json(json!({"id": id, "type": "file_deleted"})))
}

/// The API's error for a request that has no form.
pub fn no_form(rejection: &MultipartRejection) -> ApiError {
    ApiError::invalid(rejection.body_text())
}

/// The API's error for a form that broke off or is too large.
pub fn unreadable(error: &MultipartError) -> ApiError {
    match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::too_large(),
        _ => ApiError::invalid(error.body_text()),
    }
}

async fn read_lifetime(field: Field<'_>) -> Result<Duration, ApiError> {
    let text = field.text().await.map_err(|error| unreadable(&error))?;
    text.parse()
        .ok()
        .filter(|seconds| (1..=MAX_EXPIRES_IN_SECONDS).contains(seconds))
        .map(Duration::seconds)
        .ok_or_else(|| ApiError::invalid("expires_in_seconds: Input should be a valid lifetime"))
}

fn unknown(id: &str) -> ApiError {
    ApiError::not_found(format!("File not found: {id}"))
}
