import { serve } from './ports.js';

serve(globalThis);
