//! Converts images to the input of a network.

use super::{Error, Session};
use crate::preprocess::ImageView;

impl Session {
    /// The input for 1 to [`Options::batch`](crate::Options::batch) images, planar `[images, channels, height, width]`. Each image may have
    /// any pixel format, and is resized, cropped and normalised as [`Session::preprocess`] says.
    ///
    /// # Errors
    /// [`Error::Images`] for none or more than the batch; [`Error::Preprocess`] for an image that cannot be used.
    pub fn input_of(&self, images: &[ImageView<'_>]) -> Result<Vec<f32>, Error> {
        let image = self.image_input_len();
        let mut input = vec![0.0; images.len().min(self.plan().batch) * image];
        self.input_into(images, &mut input)?;
        Ok(input)
    }

    /// [`Session::input_of`], written into a slice of the app.
    ///
    /// # Errors
    /// As [`Session::input_of`]; [`Error::InputSlice`] if the slice does not have the length of the images' input.
    pub fn input_into(&self, images: &[ImageView<'_>], input: &mut [f32]) -> Result<(), Error> {
        let [batch, channels, ..] = self.input_shape();
        let image = self.image_input_len();
        if !(1..=batch).contains(&images.len()) {
            return Err(Error::Images { batch, found: images.len() });
        }
        if input.len() != images.len() * image {
            return Err(Error::InputSlice { expected: images.len() * image, found: input.len() });
        }
        for (index, (view, planes)) in images.iter().zip(input.chunks_exact_mut(image)).enumerate() {
            let applied = self.preprocess().apply_into(*view, channels, planes);
            applied.map_err(|source| Error::Preprocess { index, source })?;
        }
        Ok(())
    }

    fn image_input_len(&self) -> usize {
        self.input_shape()[1..].iter().product()
    }
}
