//! A window with a moving picture that is classified frame by frame, on the window's own device, without a stall: drawing, network and
//! copy of the result are in one command encoder, and a result is read some frames later, when it is there. A frame is drawn without being
//! classified where four results are under way.
//!
//! ```sh
//! cargo run --release -p rmnet-window                    # until the window is closed
//! cargo run --release -p rmnet-window -- --frames 200    # ends by itself
//! ```
//! The window's title has the class, and at the end times are printed. The picture stands for a camera or a video: the app writes each
//! frame into a texture. Needs a screen; `xvfb-run -a` makes one.

mod frame_times;
mod picture;
mod view;

use clap::Parser;
use picture::Picture;
use rmnet::Model;
use std::error::Error;
use std::path::Path;
use view::View;
use winit::application::ApplicationHandler;
use winit::event::WindowEvent;
use winit::event_loop::{ActiveEventLoop, EventLoop};
use winit::window::WindowId;

#[derive(Parser)]
struct Args {
    /// Frames after which the window closes [default: until it is closed by hand]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    frames: Option<u32>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let Args { frames } = Args::parse();
    let digits = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/digits"));
    let model = Model::open(digits)?;
    let picture = Picture::open(&digits.join("images"))?;
    let event_loop = EventLoop::new().map_err(|e| format!("no screen here: {e}"))?;
    let mut app =
        App { model, picture: Some(picture), frames: frames.unwrap_or(u32::MAX), view: None, error: None };
    event_loop.run_app(&mut app)?;
    match (app.error, app.view) {
        (Some(e), _) => Err(e),
        (None, Some(view)) => view.finish(),
        (None, None) => Err("the window was never shown".into()),
    }
}

/// The window, once the system has shown the app.
struct App {
    model: Model,
    picture: Option<Picture>,
    frames: u32,
    view: Option<View>,
    error: Option<Box<dyn Error>>,
}

impl App {
    /// Ends the app if something has failed.
    fn check(&mut self, result: Result<(), Box<dyn Error>>, event_loop: &ActiveEventLoop) {
        if let Err(e) = result {
            self.error.get_or_insert(e);
            event_loop.exit();
        }
    }
}

impl ApplicationHandler for App {
    fn resumed(&mut self, event_loop: &ActiveEventLoop) {
        let Some(picture) = self.picture.take() else { return };
        let made = View::new(event_loop, &self.model, picture).map(|view| self.view = Some(view));
        self.check(made, event_loop);
    }

    fn window_event(&mut self, event_loop: &ActiveEventLoop, _: WindowId, event: WindowEvent) {
        let Some(view) = &mut self.view else { return };
        match event {
            WindowEvent::CloseRequested => event_loop.exit(),
            WindowEvent::Resized(size) => view.resize(size),
            WindowEvent::RedrawRequested => {
                let drawn = view.frame();
                match view.frames() >= self.frames {
                    true => event_loop.exit(),
                    false => view.request_frame(),
                }
                self.check(drawn, event_loop);
            }
            _ => {}
        }
    }
}
