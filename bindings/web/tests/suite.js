import { query, run } from './harness.js';
import './networks.js';
import './sources.js';
import './images.js';
import './gpu.js';
import './errors.js';
import './demo.js';

if (!query.has('blank')) run();
