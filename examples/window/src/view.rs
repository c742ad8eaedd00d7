//! The window, its device, and the network on it.

use crate::frame_times::FrameTimes;
use crate::picture::Picture;
use rmnet::preprocess::{Preprocess, Resize};
use rmnet::wgpu::{self, BufferUsages, TextureUsages};
use rmnet::{Gpu, ImageView, Model, Options, PixelFormat, Session, Size};
use std::collections::VecDeque;
use std::error::Error;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use winit::dpi::{LogicalSize, PhysicalSize};
use winit::event_loop::ActiveEventLoop;
use winit::window::Window;

/// Results on their way to the host at the same time. A frame that finds none free is drawn without being classified.
const IN_FLIGHT: usize = 4;

/// Pause between looks at whether a hidden window is seen again.
const HIDDEN: Duration = Duration::from_millis(20);

/// Results that are compared at the end with single runs: the last ones.
const CHECKED: usize = 64;

/// A buffer that brings the logits of a frame to the host.
struct Download {
    buffer: wgpu::Buffer,
    frame: u32,
}

pub struct View {
    window: Arc<Window>,
    surface: wgpu::Surface<'static>,
    config: wgpu::SurfaceConfiguration,
    device: wgpu::Device,
    queue: wgpu::Queue,
    session: Session,
    picture: Picture,
    texture: wgpu::Texture,
    normalise: (wgpu::ComputePipeline, wgpu::BindGroup),
    show: (wgpu::RenderPipeline, wgpu::BindGroup),
    input: wgpu::Buffer,
    logits: wgpu::Buffer,
    free: Vec<Download>,
    arrived: (Sender<Download>, Receiver<Download>),
    frames: u32,
    /// Results so far.
    classified: u32,
    /// Frame and class of the last results.
    classes: VecDeque<(u32, usize)>,
    /// Frames drawn between a result's own frame and its arrival.
    late: u32,
    times: FrameTimes,
}

impl View {
    pub fn new(
        event_loop: &ActiveEventLoop,
        model: &Model,
        picture: Picture,
    ) -> Result<View, Box<dyn Error>> {
        let attributes =
            Window::default_attributes().with_title("rmnet").with_inner_size(LogicalSize::new(320, 320));
        let window = Arc::new(event_loop.create_window(attributes)?);
        let display = Box::new(event_loop.owned_display_handle());
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_with_display_handle(display));
        let surface = instance.create_surface(window.clone())?;
        let adapter = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions {
            power_preference: wgpu::PowerPreference::HighPerformance,
            compatible_surface: Some(&surface),
            ..Default::default()
        }))?;
        let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
            required_features: Gpu::features_for(&adapter),
            required_limits: adapter.limits(),
            ..Default::default()
        }))?;
        let PhysicalSize { width, height } = window.inner_size();
        let config = surface.get_default_config(&adapter, width.max(1), height.max(1));
        let config = config.ok_or("the window cannot be drawn on by this adapter")?;
        surface.configure(&device, &config);

        // The session is ready when this returns: its shaders are compiled, so that no frame waits for them.
        let session =
            Session::with_gpu(&Gpu::from_device(device.clone(), queue.clone()), model, &Options::default())?;
        println!("{} on {}", session.family(), session.device_name());
        let [height, width] = picture.size;
        if session.input_shape() != [1, 3, height, width] {
            return Err(format!("expected a network of {height}x{width} pixels in RGB").into());
        }

        let texture = device.create_texture(&wgpu::TextureDescriptor {
            label: Some("picture"),
            size: wgpu::Extent3d { width: width as u32, height: height as u32, depth_or_array_layers: 1 },
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format: wgpu::TextureFormat::Rgba8Unorm,
            usage: TextureUsages::TEXTURE_BINDING | TextureUsages::COPY_DST,
            view_formats: &[],
        });
        let buffer = |floats: usize, usage| {
            let size = 4 * floats as u64;
            device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size,
                usage,
                mapped_at_creation: false,
            })
        };
        let classes = session.output_shape()[1];
        let input = buffer(session.input_len(), BufferUsages::STORAGE);
        let logits = buffer(classes, BufferUsages::STORAGE | BufferUsages::COPY_SRC);
        let download = || buffer(classes, BufferUsages::MAP_READ | BufferUsages::COPY_DST);
        let free = (0..IN_FLIGHT).map(|_| Download { buffer: download(), frame: 0 }).collect();
        let view = texture.create_view(&Default::default());
        let normalise = normalise(&device, session.preprocess(), &view, &input);
        let show = show(&device, config.format, &view);
        window.request_redraw();
        Ok(View {
            window,
            surface,
            config,
            device,
            queue,
            session,
            picture,
            texture,
            normalise,
            show,
            input,
            logits,
            free,
            arrived: channel(),
            frames: 0,
            classified: 0,
            classes: VecDeque::new(),
            late: 0,
            times: FrameTimes::default(),
        })
    }

    /// Frames shown so far.
    pub fn frames(&self) -> u32 {
        self.frames
    }

    pub fn request_frame(&self) {
        self.window.request_redraw();
    }

    pub fn resize(&mut self, size: PhysicalSize<u32>) {
        if size.width > 0 && size.height > 0 {
            (self.config.width, self.config.height) = (size.width, size.height);
            self.surface.configure(&self.device, &self.config);
        }
    }

    /// Draws and classifies one frame. Nothing here waits for the GPU but the window system, for a free image and to present.
    pub fn frame(&mut self) -> Result<(), Box<dyn Error>> {
        let start = Instant::now();
        self.device.poll(wgpu::PollType::Poll)?;
        self.read_arrived()?;
        let mut own = start.elapsed();
        let shown = match self.surface.get_current_texture() {
            wgpu::CurrentSurfaceTexture::Success(texture)
            | wgpu::CurrentSurfaceTexture::Suboptimal(texture) => texture,
            wgpu::CurrentSurfaceTexture::Timeout | wgpu::CurrentSurfaceTexture::Occluded => {
                std::thread::sleep(HIDDEN);
                return Ok(());
            }
            wgpu::CurrentSurfaceTexture::Outdated => {
                self.surface.configure(&self.device, &self.config);
                return Ok(());
            }
            lost => return Err(format!("the window's surface: {lost:?}").into()),
        };

        let start = Instant::now();
        self.write_picture();
        let mut encoder = self.device.create_command_encoder(&Default::default());
        let download = self.free.pop();
        if let Some(Download { buffer, .. }) = &download {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(&self.normalise.0);
            pass.set_bind_group(0, &self.normalise.1, &[]);
            let [height, width] = self.picture.size;
            pass.dispatch_workgroups(width.div_ceil(8) as u32, height.div_ceil(8) as u32, 1);
            drop(pass);
            self.session.encode(&mut encoder, &self.input, &self.logits)?;
            encoder.copy_buffer_to_buffer(&self.logits, 0, buffer, 0, buffer.size());
        }
        self.draw(&mut encoder, &shown.texture.create_view(&Default::default()));
        self.queue.submit([encoder.finish()]);
        if let Some(download) = download {
            let (arrived, buffer) = (self.arrived.0.clone(), download.buffer.clone());
            let download = Download { frame: self.frames, ..download };
            buffer.map_async(wgpu::MapMode::Read, .., move |mapped| {
                // A buffer that is not mapped is of a lost device, which the next frame finds out.
                if mapped.is_ok() {
                    let _ = arrived.send(download);
                }
            });
        }
        own += start.elapsed();
        // The window system may wait for the image to be drawn, as it does for a software GPU.
        self.queue.present(shown);
        self.frames += 1;
        self.times.add(own);
        Ok(())
    }

    /// Reads the results that have arrived, and shows the last one's class in the title.
    fn read_arrived(&mut self) -> Result<(), Box<dyn Error>> {
        while let Ok(download) = self.arrived.1.try_recv() {
            let logits: Vec<f32> = {
                let mapped = download.buffer.get_mapped_range(..)?;
                mapped.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
            };
            download.buffer.unmap();
            let best = &self.session.top_k(&logits, 1)?[0];
            self.window
                .set_title(&format!("rmnet: {}", best.label.clone().unwrap_or(best.class.to_string())));
            self.classified += 1;
            self.classes.truncate(CHECKED - 1);
            self.classes.push_front((download.frame, best.class));
            self.late = self.late.max(self.frames - download.frame);
            self.free.push(download);
        }
        Ok(())
    }

    fn write_picture(&self) {
        let [height, width] = self.picture.size;
        self.queue.write_texture(
            self.texture.as_image_copy(),
            &self.picture.frame(self.frames),
            wgpu::TexelCopyBufferLayout {
                offset: 0,
                bytes_per_row: Some(4 * width as u32),
                rows_per_image: Some(height as u32),
            },
            self.texture.size(),
        );
    }

    fn draw(&self, encoder: &mut wgpu::CommandEncoder, target: &wgpu::TextureView) {
        let mut pass = encoder.begin_render_pass(&wgpu::RenderPassDescriptor {
            label: Some("show"),
            color_attachments: &[Some(wgpu::RenderPassColorAttachment {
                view: target,
                depth_slice: None,
                resolve_target: None,
                ops: wgpu::Operations {
                    load: wgpu::LoadOp::Clear(wgpu::Color::BLACK),
                    store: wgpu::StoreOp::Store,
                },
            })],
            ..Default::default()
        });
        pass.set_pipeline(&self.show.0);
        pass.set_bind_group(0, &self.show.1, &[]);
        pass.draw(0..3, 0..1);
    }

    /// Prints the times, and compares the last classes with those of [`Session::run`] on the same pixels.
    pub fn finish(mut self) -> Result<(), Box<dyn Error>> {
        self.device.poll(wgpu::PollType::wait_indefinitely())?;
        self.read_arrived()?;
        let unresized = Preprocess { resize: Resize::None, ..self.session.preprocess().clone() };
        let size = Size::new(self.picture.size[0], self.picture.size[1]);
        for (frame, class) in &self.classes {
            let pixels = self.picture.frame(*frame);
            let input = unresized.apply(ImageView::new(&pixels, size, PixelFormat::Rgba8), 3)?;
            let expected = self.session.top_k(&self.session.run(&input)?, 1)?[0].class;
            if *class != expected {
                return Err(format!("frame {frame}: expected class {expected}, found {class}").into());
            }
        }
        let skipped = self.frames - self.classified;
        println!(
            "{} frames: {} classified, {skipped} while {IN_FLIGHT} results were under way",
            self.frames, self.classified
        );
        println!("results arrive within {} frames", self.late);
        println!("{}", self.times);
        println!("the last {} classes are those of single runs on the same pictures", self.classes.len());
        Ok(())
    }
}

/// The pass that converts the picture to the network's input. Rare options of preprocessing are not implemented: an offset, reversed
/// channels, a second division.
fn normalise(
    device: &wgpu::Device,
    Preprocess { rescale, mean, std, .. }: &Preprocess,
    picture: &wgpu::TextureView,
    input: &wgpu::Buffer,
) -> (wgpu::ComputePipeline, wgpu::BindGroup) {
    let vector = |values: &[f64]| format!("vec3f{values:?}").replace('[', "(").replace(']', ")");
    let (factor, mean, std) = (255.0 * rescale, vector(mean), vector(std));
    let shader = include_str!("../../own_device/normalise.wgsl");
    let shader = format!("const FACTOR = {factor:?}; const MEAN = {mean}; const STD = {std};\n{shader}");
    let source = wgpu::ShaderSource::Wgsl(shader.into());
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some("normalise"),
        layout: None,
        module: &device.create_shader_module(wgpu::ShaderModuleDescriptor { label: None, source }),
        entry_point: None,
        compilation_options: Default::default(),
        cache: None,
    });
    let entries = [
        wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::TextureView(picture) },
        wgpu::BindGroupEntry { binding: 1, resource: input.as_entire_binding() },
    ];
    let layout = &pipeline.get_bind_group_layout(0);
    let group =
        device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries: &entries });
    (pipeline, group)
}

/// The pass that draws the picture.
fn show(
    device: &wgpu::Device,
    format: wgpu::TextureFormat,
    picture: &wgpu::TextureView,
) -> (wgpu::RenderPipeline, wgpu::BindGroup) {
    let module = device.create_shader_module(wgpu::include_wgsl!("show.wgsl"));
    let pipeline = device.create_render_pipeline(&wgpu::RenderPipelineDescriptor {
        label: Some("show"),
        layout: None,
        vertex: wgpu::VertexState {
            module: &module,
            entry_point: None,
            compilation_options: Default::default(),
            buffers: &[],
        },
        fragment: Some(wgpu::FragmentState {
            module: &module,
            entry_point: None,
            compilation_options: Default::default(),
            targets: &[Some(format.into())],
        }),
        primitive: Default::default(),
        depth_stencil: None,
        multisample: Default::default(),
        multiview_mask: None,
        cache: None,
    });
    let entries =
        [wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::TextureView(picture) }];
    let layout = &pipeline.get_bind_group_layout(0);
    let group =
        device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries: &entries });
    (pipeline, group)
}
