// node screenshots.mjs FOLDER: the demo as PNGs, in headless Chromium by playwright-core (npm i playwright-core). Serve the repository at
// URL (http://localhost:8000 by default) first. Wide and light, wide and dark, as on a phone, and with a file that is refused.
import { chromium } from 'playwright-core';

const folder = process.argv[2] ?? '.';
const url = `${process.env.URL ?? 'http://localhost:8000'}/bindings/web/demo/`;
const args = ['--no-sandbox', '--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader', '--enable-features=Vulkan'];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args });

async function shot(name, context, act, fullPage = true) {
  const page = await browser.newPage(context);
  page.on('pageerror', (error) => console.log(name, error.message));
  page.on('console', (message) => message.type() === 'error' && console.log(name, message.text()));
  await page.goto(url);
  await page.waitForSelector('#predictions li', { timeout: 60_000 });
  await act?.(page);
  await page.waitForTimeout(600);
  await page.screenshot({ path: `${folder}/${name}.png`, fullPage });
  await page.close();
}

const seven = (page) => page.getByRole('button', { name: 'digit 7' }).click();
const refused = (page) =>
  page.setInputFiles('#files', { name: 'notes.safetensors', mimeType: 'application/octet-stream', buffer: Buffer.from('no tensors here') });
await shot('desktop', { viewport: { width: 1120, height: 800 } }, seven);
await shot('dark', { viewport: { width: 1120, height: 800 }, colorScheme: 'dark' }, async (page) => (await seven(page), await page.click('#before')), false);
await shot('phone', { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true }, seven, false);
await shot('refused', { viewport: { width: 1120, height: 620 } }, refused, false);
await browser.close();
