// Plays moving Gaussians: unpack, then per image cull by time, sort by depth, render one quad per Gaussian from back to front.
// The URL's fragment pauses and poses: #t=0.5&pose=12 numbers (camera from world, rows)&focal=pixels&size=WxH&ui=0

const TEXTURE_WIDTH = 4096;
const byId = (id) => document.getElementById(id);
const header = JSON.parse(byId("header").textContent);

function fail(text) {
  byId("message").hidden = false;
  byId("message").style.display = "flex";
  byId("message").textContent = text;
  document.title = "failed";
  throw new Error(text);
}

// ------------------------------------------------------------------ unpacking

async function unpack() {
  const text = atob(byId("payload").textContent.trim());
  const packed = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) packed[i] = text.charCodeAt(i);
  byId("payload").remove();
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}

function halfTable() {
  const table = new Float32Array(65536);
  for (let i = 0; i < 65536; i++) {
    const sign = i & 0x8000 ? -1 : 1, exponent = (i >> 10) & 31, mantissa = i & 1023;
    table[i] = exponent === 0 ? sign * mantissa * 2 ** -24
      : exponent === 31 ? sign * 65504 : sign * (1 + mantissa / 1024) * 2 ** (exponent - 15);
  }
  return table;
}

// Every column becomes one Float32Array per component; a column that the file lacks is zero.
function decodeColumns(buffer) {
  const halves = halfTable(), n = header.count, columns = {};
  for (const [name, column] of Object.entries(header.columns)) {
    const out = [];
    let at = column.offset;
    for (let c = 0; c < column.components; c++) {
      const values = new Float32Array(n);
      if (column.codec === "f32") {
        values.set(new Float32Array(buffer.slice(at, at + 4 * n)));
        at += 4 * n;
      } else if (column.codec === "book8") {
        const codes = new Uint8Array(buffer, at, n);
        for (let i = 0; i < n; i++) values[i] = column.table[codes[i]];
        at += n;
      } else {
        const codes = new Uint16Array(buffer.slice(at, at + 2 * n));
        at += 2 * n;
        if (column.codec === "f16") for (let i = 0; i < n; i++) values[i] = halves[codes[i]];
        else {
          const low = column.table[c], step = Math.max(column.table[column.components + c] - low, 1e-12) / 65535;
          for (let i = 0; i < n; i++) {
            const x = low + codes[i] * step;
            values[i] = Math.sign(x) * Math.expm1(Math.abs(x));
          }
        }
      }
      out.push(values);
    }
    columns[name] = out;
  }
  const zero = new Float32Array(n);
  return (name, components) => columns[name] || new Array(components).fill(zero);
}

// ------------------------------------------------------------------ the scene

class Scene {
  constructor(get) {
    const n = (this.count = header.count);
    this.mean = get("means", 3);
    this.motion = get("motion", 9);
    this.center = get("centers", 1)[0];
    const logDuration = get("log_durations", 1)[0], plateau = get("plateaus", 1)[0], gate = get("gates", 1)[0];
    const logit = get("opacities", 1)[0], quat = get("quats", 4), omega = get("omegas", 4), logScale = get("log_scales", 3);
    this.start = new Float32Array(n);
    this.stop = new Float32Array(n);
    const geometry = (this.geometry = texels(n * 7));
    for (let i = 0; i < n; i++) {
      const opacity = 1 / (1 + Math.exp(-logit[i])), duration = Math.exp(logDuration[i]);
      const needed = (1 / 255 / opacity - gate[i]) / Math.max(1 - gate[i], 1e-12);
      const reach = opacity < 1 / 255 ? -1 : needed <= 0 ? Infinity
        : plateau[i] + duration * Math.sqrt(Math.max(-Math.log(needed), 0));
      this.start[i] = this.center[i] - reach;
      this.stop[i] = this.center[i] + reach;
      const o = i * 28;
      for (let c = 0; c < 3; c++) {
        geometry[o + c] = this.mean[c][i];
        for (let p = 0; p < 3; p++) geometry[o + 4 + 4 * p + c] = this.motion[3 * p + c][i];
        geometry[o + 24 + c] = Math.exp(logScale[c][i]);
      }
      for (let c = 0; c < 4; c++) {
        geometry[o + 16 + c] = quat[c][i];
        geometry[o + 20 + c] = omega[c][i];
      }
      geometry[o + 3] = this.center[i];
      geometry[o + 7] = duration;
      geometry[o + 11] = opacity;
      geometry[o + 15] = plateau[i];
      geometry[o + 27] = gate[i];
    }
    const k = Math.max(header.harmonics, 1), base = get("colors", 3), rest = get("harmonics", 3 * (k - 1));
    const colors = (this.colors = texels(n * k));
    for (let i = 0; i < n; i++)
      for (let j = 0; j < k; j++)
        for (let c = 0; c < 3; c++)
          colors[(i * k + j) * 4 + c] = j === 0 ? base[c][i] : rest[3 * (j - 1) + c][i];
    this.depths = new Float32Array(n);
    this.alive = new Uint32Array(n);
    this.order = new Uint32Array(n);
    this.bins = new Uint32Array(65537);
  }

  // Ids of what can be seen at t, farthest first, into this.order; returns how many.
  sort(t, view, near) {
    const [x, y, z] = this.mean, m = this.motion, { depths, alive, bins, order } = this;
    let alivecount = 0, low = Infinity, high = -Infinity;
    for (let i = 0; i < this.count; i++) {
      if (t < this.start[i] || t > this.stop[i]) continue;
      const dt = t - this.center[i];
      const px = x[i] + dt * (m[0][i] + dt * (m[3][i] + dt * m[6][i]));
      const py = y[i] + dt * (m[1][i] + dt * (m[4][i] + dt * m[7][i]));
      const pz = z[i] + dt * (m[2][i] + dt * (m[5][i] + dt * m[8][i]));
      const depth = view[6] * px + view[7] * py + view[8] * pz + view[11];
      if (!(depth >= near)) continue;
      depths[alivecount] = depth;
      alive[alivecount++] = i;
      if (depth < low) low = depth;
      if (depth > high) high = depth;
    }
    // Counting sort on 16 bits of the logarithm of depth: as fine near the camera as far away.
    bins.fill(0);
    const from = Math.log(low), scale = 65535 / Math.max(Math.log(high) - from, 1e-9);
    for (let j = 0; j < alivecount; j++) {
      depths[j] = 65535 - Math.floor((Math.log(depths[j]) - from) * scale);
      bins[Math.max(depths[j], 0) + 1]++;
    }
    for (let b = 0; b < 65536; b++) bins[b + 1] += bins[b];
    for (let j = 0; j < alivecount; j++) order[bins[Math.max(depths[j], 0)]++] = alive[j];
    return alivecount;
  }
}

// Room for whole rows of a texture.
function texels(count) {
  return new Float32Array(4 * TEXTURE_WIDTH * Math.max(Math.ceil(count / TEXTURE_WIDTH), 1));
}

// ------------------------------------------------------------------ rendering

class Renderer {
  constructor(canvas, scene) {
    const gl = (this.gl = canvas.getContext("webgl2", { antialias: false, alpha: false, preserveDrawingBuffer: true }));
    if (!gl) fail("This browser has no WebGL 2; open the page in a current Chrome, Firefox, Edge or Safari.");
    this.canvas = canvas;
    this.scene = scene;
    this.deep = gl.getExtension("EXT_color_buffer_float") || gl.getExtension("EXT_color_buffer_half_float");
    const rows = Math.max(scene.geometry.length, scene.colors.length) / 4 / TEXTURE_WIDTH;
    if (rows > gl.getParameter(gl.MAX_TEXTURE_SIZE))
      fail(`This graphics card holds textures of ${gl.getParameter(gl.MAX_TEXTURE_SIZE)} rows and the scene needs ${rows}.`);
    this.program = this.link(VERTEX, FRAGMENT);
    this.copy = this.link(COPY_VERTEX, COPY_FRAGMENT);
    this.geometry = this.upload(0, gl.RGBA32F, scene.geometry);
    this.colors = this.upload(1, gl.RGBA16F, scene.colors);
    scene.geometry = scene.colors = null;
    this.vertices = gl.createVertexArray();
    gl.bindVertexArray(this.vertices);
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, new Float32Array([-1, -1, 1, -1, -1, 1, 1, 1]), gl.STATIC_DRAW);
    gl.enableVertexAttribArray(0);
    gl.vertexAttribPointer(0, 2, gl.FLOAT, false, 0, 0);
    this.ids = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, this.ids);
    gl.bufferData(gl.ARRAY_BUFFER, scene.count * 4, gl.DYNAMIC_DRAW);
    gl.enableVertexAttribArray(1);
    gl.vertexAttribIPointer(1, 1, gl.UNSIGNED_INT, 0, 0);
    gl.vertexAttribDivisor(1, 1);
    this.target = null;
  }

  link(vertex, fragment) {
    const gl = this.gl, program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) fail("shader: " + gl.getShaderInfoLog(shader));
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) fail("program: " + gl.getProgramInfoLog(program));
    return program;
  }

  upload(unit, format, data) {
    const gl = this.gl;
    gl.activeTexture(gl.TEXTURE0 + unit);
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    gl.texImage2D(gl.TEXTURE_2D, 0, format, TEXTURE_WIDTH, data.length / 4 / TEXTURE_WIDTH, 0, gl.RGBA, gl.FLOAT, data);
    this.nearest();
  }

  nearest() {
    const gl = this.gl;
    for (const which of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, which, gl.NEAREST);
    for (const which of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, which, gl.CLAMP_TO_EDGE);
  }

  // Blending in half floats keeps many faint layers from being rounded to 1/255.
  resize(width, height) {
    if (this.canvas.width === width && this.canvas.height === height && (this.target || !this.deep)) return;
    const gl = this.gl;
    this.canvas.width = width;
    this.canvas.height = height;
    if (!this.deep) return;
    if (this.target) {
      gl.deleteTexture(this.image);
      gl.deleteFramebuffer(this.target);
    }
    gl.activeTexture(gl.TEXTURE2);
    gl.bindTexture(gl.TEXTURE_2D, (this.image = gl.createTexture()));
    gl.texStorage2D(gl.TEXTURE_2D, 1, gl.RGBA16F, width, height);
    this.nearest();
    gl.bindFramebuffer(gl.FRAMEBUFFER, (this.target = gl.createFramebuffer()));
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, this.image, 0);
    if (gl.checkFramebufferStatus(gl.FRAMEBUFFER) !== gl.FRAMEBUFFER_COMPLETE) this.target = this.deep = null;
  }

  // view: rows of the camera from world matrix [3, 4]
  render(t, view, focal) {
    const gl = this.gl, program = this.program, { width, height } = this.canvas;
    const near = header.near;
    const count = this.scene.sort(t, [view[0], view[1], view[2], view[4], view[5], view[6], view[8], view[9], view[10], view[3], view[7], view[11]], near);
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.target);
    gl.viewport(0, 0, width, height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.useProgram(program);
    const at = (name) => gl.getUniformLocation(program, name);
    gl.uniform1i(at("geometry"), 0);
    gl.uniform1i(at("colors"), 1);
    gl.uniform1i(at("harmonics"), header.harmonics);
    gl.uniform1f(at("time"), t);
    gl.uniform1f(at("near"), near);
    gl.uniform2f(at("focal"), focal, focal);
    gl.uniform2f(at("size"), width, height);
    const r = [view[0], view[1], view[2], view[4], view[5], view[6], view[8], view[9], view[10]];
    gl.uniformMatrix3fv(at("rotation"), true, r);
    gl.uniform3f(at("translation"), view[3], view[7], view[11]);
    const eye = [0, 1, 2].map((c) => -(r[c] * view[3] + r[3 + c] * view[7] + r[6 + c] * view[11]));
    gl.uniform3f(at("eye"), ...eye);
    gl.bindVertexArray(this.vertices);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.ids);
    gl.bufferSubData(gl.ARRAY_BUFFER, 0, this.scene.order, 0, count);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    if (count) gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, count);
    gl.disable(gl.BLEND);
    if (!this.target) return;
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    gl.useProgram(this.copy);
    gl.uniform1i(gl.getUniformLocation(this.copy, "image"), 2);
    gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
  }
}

// ------------------------------------------------------------------ the camera: an orbit about a target

const sub = (a, b) => a.map((v, i) => v - b[i]);
const add = (a, b, s = 1) => a.map((v, i) => v + s * b[i]);
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const unit = (a) => a.map((v) => v / (Math.hypot(...a) || 1));

class Orbit {
  constructor() {
    this.up = unit(header.up);
    this.reset();
  }

  reset() {
    this.target = header.target.slice();
    const back = sub(header.eye, this.target);
    this.distance = Math.hypot(...back);
    this.pitch = Math.asin(Math.max(-1, Math.min(1, dot(back, this.up) / this.distance)));
    const flat = add(back, this.up, -dot(back, this.up));
    this.ahead = Math.hypot(...flat) > 1e-6 * this.distance ? unit(flat) : unit(cross(this.up, [0.3, 0.5, 0.8]));
    this.side = cross(this.up, this.ahead);
    this.yaw = 0;
  }

  axes() {
    const level = add(this.ahead.map((v) => v * Math.cos(this.yaw)), this.side, Math.sin(this.yaw));
    const back = add(level.map((v) => v * Math.cos(this.pitch)), this.up, Math.sin(this.pitch));
    const forward = back.map((v) => -v), right = unit(cross(forward, this.up));
    return { right, down: cross(forward, right), forward, eye: add(this.target, back, this.distance) };
  }

  view() {
    const { right, down, forward, eye } = this.axes();
    return [right, down, forward].flatMap((axis) => [...axis, -dot(axis, eye)]);
  }

  turn(dx, dy) {
    this.yaw -= dx;
    this.pitch = Math.max(-1.55, Math.min(1.55, this.pitch + dy));
  }

  pan(dx, dy) {
    const { right, down } = this.axes();
    this.target = add(add(this.target, right, -dx * this.distance), down, -dy * this.distance);
  }

  zoom(factor) {
    this.distance *= factor;
  }
}

// ------------------------------------------------------------------ the page

async function main() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  if (typeof DecompressionStream === "undefined") fail("This browser is too old to unpack the scene; use a current one.");
  const scene = new Scene(decodeColumns(await unpack()));
  const canvas = byId("canvas"), renderer = new Renderer(canvas, scene), orbit = new Orbit();
  const fixed = (wanted.get("size") || "").match(/^(\d+)x(\d+)$/);
  const pose = wanted.has("pose") ? wanted.get("pose").split(",").map(Number) : null;
  const seconds = header.seconds > 0 ? header.seconds : 1;
  const step = 1 / Math.max(header.frames - 1, 1);
  let t = wanted.has("t") ? Number(wanted.get("t")) : 0, playing = !wanted.has("t") && header.frames > 1;
  let last = performance.now(), dirty = true;
  if (fixed) Object.assign(canvas.style, { width: fixed[1] + "px", height: fixed[2] + "px" });
  byId("message").style.display = "none";
  byId("bar").hidden = wanted.get("ui") === "0";

  const show = () => {
    byId("play").textContent = playing ? "Pause" : "Play";
    byId("slider").value = t;
    byId("clock").textContent = `${(t * seconds).toFixed(2)} / ${seconds.toFixed(2)} s`;
  };
  const seek = (value) => {
    t = Math.max(0, Math.min(1, value));
    dirty = true;
    show();
  };
  const toggle = () => {
    playing = !playing;
    last = performance.now();
    show();
  };
  const frame = (now) => {
    if (playing) {
      t += (now - last) / 1000 / seconds;
      if (t > 1) t %= 1;
      dirty = true;
      show();
    }
    last = now;
    const ratio = fixed ? 1 : Math.min(devicePixelRatio || 1, 2);
    const width = fixed ? +fixed[1] : Math.max(Math.round(innerWidth * ratio), 1);
    const height = fixed ? +fixed[2] : Math.max(Math.round(innerHeight * ratio), 1);
    if (dirty || width !== canvas.width || height !== canvas.height) {
      renderer.resize(width, height);
      const focal = wanted.has("focal") ? Number(wanted.get("focal")) : (0.5 * height) / Math.tan((header.fov * Math.PI) / 360);
      renderer.render(t, pose && pose.length === 12 ? pose : orbit.view(), focal);
      dirty = false;
      document.body.dataset.ready = "1";
    }
    requestAnimationFrame(frame);
  };

  byId("play").onclick = toggle;
  byId("slider").oninput = (event) => {
    playing = false;
    seek(Number(event.target.value));
  };
  addEventListener("keydown", (event) => {
    const pressed = { " ": toggle, Home: () => orbit.reset(), ArrowRight: () => seek(t + step), ArrowLeft: () => seek(t - step),
      ArrowUp: () => orbit.zoom(0.9), ArrowDown: () => orbit.zoom(1.1) }[event.key];
    if (!pressed) return;
    event.preventDefault();
    if (event.key === "ArrowRight" || event.key === "ArrowLeft") playing = false;
    pressed();
    dirty = true;
    show();
  });

  const pointers = new Map();
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, event);
  });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => pointers.delete(event.pointerId));
  canvas.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const dx = (event.clientX - before.clientX) / canvas.clientHeight, dy = (event.clientY - before.clientY) / canvas.clientHeight;
    if (pointers.size === 2) {
      const other = [...pointers.values()].find((p) => p.pointerId !== event.pointerId);
      const span = (p) => Math.hypot(p.clientX - other.clientX, p.clientY - other.clientY) || 1;
      orbit.zoom(span(before) / span(event));
      orbit.pan(dx / 2, dy / 2);
    } else if (event.buttons & 2 || event.shiftKey) orbit.pan(dx, dy);
    else orbit.turn(4 * dx, 4 * dy);
    pointers.set(event.pointerId, event);
    dirty = true;
  });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    orbit.zoom(Math.exp(0.001 * event.deltaY));
    dirty = true;
  }, { passive: false });

  show();
  frame(performance.now());
}

main().catch((error) => fail(error.message));
