//! `/v1/skills`: only what describes a skill is kept, never its files.

use std::sync::Arc;

use axum::Json;
use axum::extract::multipart::MultipartRejection;
use axum::extract::{Multipart, Path, State};
use http::Uri;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::error::ApiError;
use super::files::{no_form, unreadable};
use super::paging::Paging;
use super::shelf::{Identified, Shelf};
use super::{Standin, lock, rfc3339};

const MAX_SKILLS: usize = 100;

pub type Skills = Shelf<Skill>;

pub fn empty() -> Skills {
    Shelf::new(MAX_SKILLS)
}

/// One skill, with its first and only version.
#[derive(Debug)]
pub struct Skill {
    id: String,
    version_id: String,
    created: OffsetDateTime,
    display_name: String,
    /// The folder that all its files share.
    name: String,
}

impl Identified for Skill {
    fn id(&self) -> &str {
        &self.id
    }
}

impl Skill {
    fn to_json(&self) -> Value {
        let created_at = rfc3339(self.created);
        json!({
            "id": self.id,
            "type": "skill",
            "display_name": self.display_name,
            "latest_version_id": self.version_id,
            "source": {"type": "custom"},
            "created_at": created_at,
            "updated_at": created_at,
        })
    }

    fn version_to_json(&self) -> Value {
        json!({
            "id": self.version_id,
            "type": "skill_version",
            "skill_id": self.id,
            "name": self.name,
            "description": "A skill uploaded to the stand-in.",
            "created_at": rfc3339(self.created),
        })
    }
}

pub async fn create(
    State(standin): State<Arc<Standin>>,
    form: Result<Multipart, MultipartRejection>,
) -> Result<Json<Value>, ApiError> {
    let form = form.map_err(|rejection| no_form(&rejection))?;
    let upload = Upload::read(form).await?;
    let name = upload.folder.ok_or_else(|| ApiError::invalid("files: a SKILL.md in a folder is required"))?;
    let serial = standin.next_serial();
    let skill = Skill {
        id: format!("skill_standin_{serial}"),
        version_id: format!("skillver_standin_{serial}"),
        created: OffsetDateTime::now_utc(),
        display_name: upload.display_name.unwrap_or_else(|| name.clone()),
        name,
    };
    let shown = skill.to_json();
    lock(&standin.skills).put(skill);
    Ok(Json(shown))
}

pub async fn list(State(standin): State<Arc<Standin>>, uri: Uri) -> Result<Json<Value>, ApiError> {
    let paging = Paging::of(&uri)?;
    let shown: Vec<Value> = lock(&standin.skills).iter().map(Skill::to_json).collect();
    Ok(Json(paging.cut(&shown)))
}

pub async fn retrieve(State(standin): State<Arc<Standin>>, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    let skills = lock(&standin.skills);
    let skill = skills.find(&id).ok_or_else(|| unknown(&id))?;
    Ok(Json(skill.to_json()))
}

pub async fn versions(
    State(standin): State<Arc<Standin>>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Json<Value>, ApiError> {
    let paging = Paging::of(&uri)?;
    let skills = lock(&standin.skills);
    let skill = skills.find(&id).ok_or_else(|| unknown(&id))?;
    Ok(Json(paging.cut(&[skill.version_to_json()])))
}

pub async fn delete(State(standin): State<Arc<Standin>>, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    lock(&standin.skills).remove(&id).ok_or_else(|| unknown(&id))?;
    Ok(Json(json!({"id": id, "type": "skill_deleted"})))
}

#[derive(Debug, Default)]
struct Upload {
    display_name: Option<String>,
    folder: Option<String>,
}

impl Upload {
    async fn read(mut form: Multipart) -> Result<Self, ApiError> {
        let mut upload = Self::default();
        while let Some(mut field) = form.next_field().await.map_err(|error| unreadable(&error))? {
            // `display_title` was its name while skills were in beta.
            if matches!(field.name(), Some("display_name" | "display_title")) {
                let text = field.text().await.map_err(|error| unreadable(&error))?;
                upload.display_name = Some(text);
                continue;
            }
            let path = field.file_name().unwrap_or_default();
            if let Some(folder) = path.strip_suffix("/SKILL.md") {
                upload.folder = Some(folder.to_owned());
            }
            while field.chunk().await.map_err(|error| unreadable(&error))?.is_some() {}
        }
        Ok(upload)
    }
}

fn unknown(id: &str) -> ApiError {
    ApiError::not_found(format!("Skill not found: {id}"))
}
