//! Inference between an app's own GPU passes, on the app's device. One pass of the app converts a texture to the input, rmnet records the
//! network, and another pass of the app finds the best class. All are in one command encoder, and nothing is read back in between.
//!
//! ```sh
//! cargo run --release --example own_device [-- resnet50.safetensors]     # the bundled digits by default
//! ```
//! Runs on any adapter that wgpu finds through Vulkan, Metal or DX12, including software adapters, and reports if there is none.

use rmnet::preprocess::{Preprocess, Resize};
use rmnet::wgpu::util::{DeviceExt, DownloadBuffer, TextureDataOrder};
use rmnet::wgpu::{self, BindGroupDescriptor, BindGroupEntry, BindingResource, BufferUsages};
use rmnet::{Gpu, ImageView, Model, Options, PixelFormat, Session, Size};
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let digits = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/digits");
    let model = Model::open(std::env::args().nth(1).unwrap_or(digits.into()))?;

    // The app's device, with the features that kernels can use and the adapter's own limits.
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::PRIMARY;
    let instance = wgpu::Instance::new(descriptor);
    let Ok(adapter) = pollster::block_on(instance.request_adapter(&Default::default())) else {
        println!("no GPU here, nor a software one: nothing to show");
        return Ok(());
    };
    let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
        required_features: Gpu::features_for(&adapter),
        required_limits: adapter.limits(),
        ..Default::default()
    }))?;
    let gpu = Gpu::from_device(device.clone(), queue.clone());
    let session = Session::with_gpu(&gpu, &model, &Options::default())?;
    println!("{} on {}", session.family(), session.device_name());
    let [_, 3, height, width] = session.input_shape() else { return Err("expected a network of RGB".into()) };

    // The app's texture: a light stroke on black, which is a 1.
    let light = |x: usize| if (width * 7 / 16..width * 9 / 16).contains(&x) { 230 } else { 0 };
    let rgba: Vec<u8> = (0..height * width).flat_map(|i| [light(i % width); 4]).collect();
    let texture = wgpu::TextureDescriptor {
        label: None,
        size: wgpu::Extent3d { width: width as u32, height: height as u32, depth_or_array_layers: 1 },
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format: wgpu::TextureFormat::Rgba8Unorm,
        usage: wgpu::TextureUsages::TEXTURE_BINDING,
        view_formats: &[],
    };
    let texture = device.create_texture_with_data(&queue, &texture, TextureDataOrder::LayerMajor, &rgba);
    let view = texture.create_view(&Default::default());
    let [input, logits, best] = [session.input_len(), session.output_shape()[1], 2].map(|floats| {
        let (size, usage) = (4 * floats as u64, BufferUsages::STORAGE | BufferUsages::COPY_SRC);
        device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
    });

    // One command encoder: the app's pass, the network, the app's pass.
    let mut encoder = device.create_command_encoder(&Default::default());
    let bound = [BindingResource::TextureView(&view), input.as_entire_binding()];
    let groups = [width.div_ceil(8) as u32, height.div_ceil(8) as u32];
    pass(&device, &mut encoder, &normalise(session.preprocess()), bound, groups);
    session.encode(&mut encoder, &input, &logits)?;
    let bound = [logits.as_entire_binding(), best.as_entire_binding()];
    pass(&device, &mut encoder, include_str!("own_device/best.wgsl"), bound, [1, 1]);
    queue.submit([encoder.finish()]);

    // The host reads eight bytes at the end, and compares them with `Session::run` on the same pixels.
    let (send, receive) = std::sync::mpsc::channel();
    DownloadBuffer::read_buffer(&device, &queue, &best.slice(..), move |read| drop(send.send(read)));
    device.poll(wgpu::PollType::wait_indefinitely())?;
    let [index, logit] = *receive.recv()??.as_chunks().0 else { return Err("expected eight bytes".into()) };
    let (index, logit) = (u32::from_le_bytes(index) as usize, f32::from_le_bytes(logit));

    let unresized = Preprocess { resize: Resize::None, ..session.preprocess().clone() };
    let image = ImageView::new(&rgba, Size::new(height, width), PixelFormat::Rgba8);
    let logits = session.run(&unresized.apply(image, 3)?)?;
    let class = session.top_k(&logits, 1)?[0].class;
    println!("one encoder: class {index}, logit {logit}; run: class {class}, logit {}", logits[class]);
    // The two normalisations round differently.
    if index != class || (logit - logits[class]).abs() > 1e-4 * logits[class].abs() {
        return Err("they differ".into());
    }
    println!("they agree");
    Ok(())
}

/// The shader that converts texels, from 0 to 1, to the input of a model with this preprocessing (`mean` and `std` are one number or
/// three). Rare options are not implemented: an offset, reversed channels, a second division.
fn normalise(Preprocess { rescale, mean, std, .. }: &Preprocess) -> String {
    let vector = |values: &[f64]| format!("vec3f{values:?}").replace('[', "(").replace(']', ")");
    let (factor, mean, std) = (255.0 * rescale, vector(mean), vector(std));
    let shader = include_str!("own_device/normalise.wgsl");
    format!("const FACTOR = {factor:?}; const MEAN = {mean}; const STD = {std};\n{shader}")
}

/// Records a compute pass with the resources at bindings 0 and 1.
fn pass(
    device: &wgpu::Device,
    encoder: &mut wgpu::CommandEncoder,
    shader: &str,
    [a, b]: [BindingResource; 2],
    [x, y]: [u32; 2],
) {
    let source = wgpu::ShaderSource::Wgsl(shader.into());
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: None,
        layout: None,
        module: &device.create_shader_module(wgpu::ShaderModuleDescriptor { label: None, source }),
        entry_point: None,
        compilation_options: Default::default(),
        cache: None,
    });
    let entries = &[(0, a), (1, b)].map(|(binding, resource)| BindGroupEntry { binding, resource });
    let layout = &pipeline.get_bind_group_layout(0);
    let group = device.create_bind_group(&BindGroupDescriptor { label: None, layout, entries });
    let mut pass = encoder.begin_compute_pass(&Default::default());
    pass.set_pipeline(&pipeline);
    pass.set_bind_group(0, &group, &[]);
    pass.dispatch_workgroups(x, y, 1);
}
