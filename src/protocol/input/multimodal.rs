//! Text with embeddings of images, videos and sounds, made by encoders.

use std::ffi::CString;
use std::sync::Arc;

use super::c_text;
use serde::{Deserialize, Serialize};

use crate::protocol::error::Failure;

/// Where an image belongs in the text.
const IMAGE_TAG: &str = "<image>";
/// Where a video belongs in the text.
const VIDEO_TAG: &str = "<video>";
/// Where a sound belongs in the text.
const AUDIO_TAG: &str = "<audio>";

/// The strings that the library puts around and in place of embeddings (1.3.0; before, they are
/// settings of the model).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Markers {
    /// Before (`image_start`).
    pub start: Option<CString>,
    /// After (`image_end`).
    pub end: Option<CString>,
    /// The placeholder (`image_content`).
    pub content: Option<CString>,
}

impl Markers {
    /// Whether there is any.
    #[must_use]
    pub fn given(&self) -> bool {
        self.start.is_some() || self.end.is_some() || self.content.is_some()
    }
}

/// Image embeddings: `count` × `tokens` × the model's width.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Images {
    /// All of them, one behind the other (`image_embed`).
    pub values: Arc<[f32]>,
    /// Images (`n_image`), as many as the text has `<image>`.
    pub count: usize,
    /// Tokens of each image (`n_image_tokens`).
    pub tokens: usize,
    /// Width and height that they were encoded with, for models with mrope; 0 where that does not
    /// matter (`image_width`, `image_height`).
    pub size: (usize, usize),
    /// Markers of this input.
    pub markers: Markers,
}

/// Video embeddings: `count` × `frames` × `tokens` × the model's width (1.3.0).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Videos {
    /// All of them, one behind the other (`video_embed`).
    pub values: Arc<[f32]>,
    /// Videos (`n_video`), as many as the text has `<video>`.
    pub count: usize,
    /// Frames of each video (`n_frame_per_video`).
    pub frames: usize,
    /// Tokens of each frame (`n_frame_tokens`).
    pub tokens: usize,
    /// Width and height of a frame (`frame_width`, `frame_height`).
    pub size: (usize, usize),
    /// Markers of this input.
    pub markers: Markers,
}

/// Audio embeddings: `count` × `tokens` × the model's width (1.3.1).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Audios {
    /// All of them, one behind the other (`audio_embed`).
    pub values: Arc<[f32]>,
    /// Sounds (`n_audio`), as many as the text has `<audio>`.
    pub count: usize,
    /// Tokens of each sound (`n_audio_tokens`).
    pub tokens: usize,
    /// Markers of this input.
    pub markers: Markers,
}

/// Text with embeddings in it (`RKLLMMultiModalInput`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Multimodal {
    prompt: CString,
    images: Option<Images>,
    videos: Option<Videos>,
    audios: Option<Audios>,
}

impl Multimodal {
    /// Joins text and embeddings.
    ///
    /// # Errors
    /// `ErrorKind::InvalidArgument` if counts and floats do not agree, or the text does not have one
    /// `<image>` for each image, one `<video>` for each video and one `<audio>` for each sound.
    pub fn new(
        prompt: &str,
        images: Option<Images>,
        videos: Option<Videos>,
        audios: Option<Audios>,
    ) -> Result<Self, Failure> {
        if images.is_none() && videos.is_none() && audios.is_none() {
            return Err(Failure::invalid_with_hint(
                "image_embed",
                "is missing, and so are video_embed and audio_embed",
                "Pass the embeddings of an image, a video or a sound; for text alone, pass a str.",
            ));
        }
        tags(prompt, IMAGE_TAG, images.as_ref().map_or(0, |i| i.count))?;
        tags(prompt, VIDEO_TAG, videos.as_ref().map_or(0, |v| v.count))?;
        tags(prompt, AUDIO_TAG, audios.as_ref().map_or(0, |a| a.count))?;
        if let Some(images) = &images {
            filled("image_embed", &images.values, [images.count, images.tokens])?;
        }
        if let Some(v) = &videos {
            filled("video_embed", &v.values, [v.count * v.frames, v.tokens])?;
        }
        if let Some(audios) = &audios {
            filled("audio_embed", &audios.values, [audios.count, audios.tokens])?;
        }
        let prompt = c_text("prompt", prompt)?;
        Ok(Self {
            prompt,
            images,
            videos,
            audios,
        })
    }

    /// The text.
    #[must_use]
    pub fn prompt(&self) -> &CString {
        &self.prompt
    }

    /// The same embeddings in another text, which has the same tags.
    pub(crate) fn with_prompt(self, prompt: &str) -> Result<Self, Failure> {
        let prompt = c_text("prompt", prompt)?;
        Ok(Self { prompt, ..self })
    }

    /// The images.
    #[must_use]
    pub fn images(&self) -> Option<&Images> {
        self.images.as_ref()
    }

    /// The videos.
    #[must_use]
    pub fn videos(&self) -> Option<&Videos> {
        self.videos.as_ref()
    }

    /// The sounds.
    #[must_use]
    pub fn audios(&self) -> Option<&Audios> {
        self.audios.as_ref()
    }

    /// Whether it has several images, or sizes of them.
    pub(crate) fn needs_several(&self) -> bool {
        let images = self.images.as_ref();
        images.is_some_and(|images| images.count > 1 || images.size != (0, 0))
    }

    /// Whether it brings markers of its own.
    pub(crate) fn needs_markers(&self) -> bool {
        let images = self.images.as_ref();
        images.is_some_and(|images| images.markers.given())
    }

    pub(crate) fn positions(&self) -> usize {
        let images = self.images.as_ref().map_or(0, |i| i.count * i.tokens);
        let videos = self.videos.as_ref();
        let audios = self.audios.as_ref().map_or(0, |a| a.count * a.tokens);
        images + videos.map_or(0, |v| v.count * v.frames * v.tokens) + audios
    }

    /// Floats of one embedding, by the name of the array it is from; all must have the model's width.
    pub(crate) fn widths(&self) -> impl Iterator<Item = (&'static str, usize)> {
        let images = self.images.as_ref();
        let images = images.map(|i| ("image_embed", i.values.len() / (i.count * i.tokens)));
        let videos = self.videos.as_ref();
        let videos = videos.map(|v| {
            let tokens = v.count * v.frames * v.tokens;
            ("video_embed", v.values.len() / tokens)
        });
        let audios = self.audios.as_ref();
        let audios = audios.map(|a| ("audio_embed", a.values.len() / (a.count * a.tokens)));
        images.into_iter().chain(videos).chain(audios)
    }
}

fn tags(prompt: &str, tag: &str, wanted: usize) -> Result<(), Failure> {
    let found = prompt.matches(tag).count();
    if found == wanted {
        return Ok(());
    }
    Err(Failure::invalid_with_hint(
        "prompt",
        format!("must contain {tag} once for each embedding: expected {wanted}, got {found}"),
        format!("Write one {tag} at each place where an embedding belongs."),
    ))
}

fn filled(name: &'static str, values: &[f32], counts: [usize; 2]) -> Result<(), Failure> {
    let tokens = counts[0].checked_mul(counts[1]).unwrap_or(0);
    if tokens == 0 || values.is_empty() || !values.len().is_multiple_of(tokens) {
        return Err(Failure::invalid_with_hint(
            name,
            format!(
                "must hold {} x {} embeddings of equal width, got {} floats",
                counts[0],
                counts[1],
                values.len()
            ),
            "Pass counts greater than 0 that match the array.",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::error::ErrorKind;

    fn images(count: usize, tokens: usize, floats: usize) -> Images {
        Images {
            values: vec![0.5; floats].into(),
            count,
            tokens,
            size: (0, 0),
            markers: Markers::default(),
        }
    }

    fn audios(count: usize, tokens: usize, floats: usize) -> Audios {
        Audios {
            values: vec![0.5; floats].into(),
            count,
            tokens,
            markers: Markers::default(),
        }
    }

    #[test]
    fn tags_and_embeddings_must_agree() {
        let good = Multimodal::new(
            "<image> and <image>: <audio>",
            Some(images(2, 3, 24)),
            None,
            Some(audios(1, 2, 8)),
        );
        let good = good.unwrap();
        assert_eq!(good.positions(), 8);
        let widths: Vec<_> = good.widths().collect();
        assert_eq!(widths, [("image_embed", 4), ("audio_embed", 4)]);
        let image = |prompt, images| Multimodal::new(prompt, Some(images), None, None);
        let audio = |prompt, audios| Multimodal::new(prompt, None, None, Some(audios));
        for bad in [
            image("no tag", images(1, 3, 12)),
            image("<image><image>", images(1, 3, 12)),
            image("<image>", images(1, 5, 12)),
            image("<image>", images(1, 0, 12)),
            image("<image><video>", images(1, 3, 12)),
            image("<image><audio>", images(1, 3, 12)),
            audio("no tag", audios(1, 3, 12)),
            audio("<audio>", audios(2, 3, 24)),
            audio("<audio>", audios(1, 5, 12)),
            audio("<audio>", audios(1, 0, 12)),
            Multimodal::new("text", None, None, None),
        ] {
            assert_eq!(bad.unwrap_err().kind, ErrorKind::InvalidArgument);
        }
    }
}
