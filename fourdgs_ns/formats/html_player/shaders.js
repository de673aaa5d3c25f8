// GLSL ES 3.0: one quad per Gaussian, evaluated at the time of the image with the formulas of the rasterizers in Python.

const VERTEX = `#version 300 es
precision highp float; precision highp int; precision highp sampler2D;
uniform sampler2D geometry, colors;
uniform int harmonics;            // 0: plain RGB, else the number of spherical harmonics
uniform float time, near;
uniform vec2 focal, size;
uniform mat3 rotation;            // camera from world
uniform vec3 translation, eye;
layout(location = 0) in vec2 corner;
layout(location = 1) in uint id;
out vec2 offset;
flat out vec3 conic;
flat out vec4 color;

vec4 part(int texel) {
  int width = textureSize(geometry, 0).x;
  return texelFetch(geometry, ivec2(texel % width, texel / width), 0);
}
vec3 harmonic(int k) {
  int texel = int(id) * max(harmonics, 1) + k, width = textureSize(colors, 0).x;
  return texelFetch(colors, ivec2(texel % width, texel / width), 0).rgb;
}
vec3 shade(vec3 d) {
  if (harmonics == 0) return harmonic(0);
  vec3 c = 0.28209479177387814 * harmonic(0);
  float x = d.x, y = d.y, z = d.z;
  if (harmonics > 1) c += 0.4886025119029199 * (-y * harmonic(1) + z * harmonic(2) - x * harmonic(3));
  if (harmonics > 4)
    c += 1.0925484305920792 * (x * y * harmonic(4) - y * z * harmonic(5) - x * z * harmonic(7))
      + 0.31539156525252005 * (3.0 * z * z - 1.0) * harmonic(6) + 0.5462742152960396 * (x * x - y * y) * harmonic(8);
  if (harmonics > 9)
    c += -0.5900435899266435 * y * (3.0 * x * x - y * y) * harmonic(9) + 2.890611442640554 * x * y * z * harmonic(10)
      - 0.4570457994644658 * y * (5.0 * z * z - 1.0) * harmonic(11)
      + 0.3731763325901154 * z * (5.0 * z * z - 3.0) * harmonic(12)
      - 0.4570457994644658 * x * (5.0 * z * z - 1.0) * harmonic(13)
      + 1.445305721320277 * z * (x * x - y * y) * harmonic(14) - 0.5900435899266435 * x * (x * x - 3.0 * y * y) * harmonic(15);
  return max(c + 0.5, 0.0);
}
void main() {
  gl_Position = vec4(2.0, 2.0, 2.0, 1.0);  // outside, unless all goes well
  int base = int(id) * 7;
  vec4 a = part(base), b = part(base + 1), c = part(base + 2), d = part(base + 3);
  vec4 scale = part(base + 6);
  float dt = time - a.w;
  vec3 mean = a.xyz + dt * (b.xyz + dt * (c.xyz + dt * d.xyz));
  float beyond = max(abs(dt) - d.w, 0.0) / b.w;
  float opacity = c.w * (scale.w + (1.0 - scale.w) * exp(-beyond * beyond));
  vec3 p = rotation * mean + translation;
  if (p.z < near || opacity < 1.0 / 255.0) return;
  vec4 q = normalize(part(base + 4) + dt * part(base + 5));
  float w = q.x, x = q.y, y = q.z, z = q.w;
  mat3 turn = mat3(
    1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y + w * z), 2.0 * (x * z - w * y),
    2.0 * (x * y - w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z + w * x),
    2.0 * (x * z + w * y), 2.0 * (y * z - w * x), 1.0 - 2.0 * (x * x + y * y));
  // The Jacobian is taken within the image and 15 % beyond it, as our other rasterizers do.
  vec2 limit = 0.65 * size / focal;
  vec2 slope = clamp(p.xy / p.z, -limit, limit);
  mat3 axes = rotation * turn * mat3(scale.x, 0, 0, 0, scale.y, 0, 0, 0, scale.z);
  vec3 u = focal.x / p.z * (vec3(axes[0].x, axes[1].x, axes[2].x) - slope.x * vec3(axes[0].z, axes[1].z, axes[2].z));
  vec3 v = focal.y / p.z * (vec3(axes[0].y, axes[1].y, axes[2].y) - slope.y * vec3(axes[0].z, axes[1].z, axes[2].z));
  float xx = dot(u, u) + 0.3, xy = dot(u, v), yy = dot(v, v) + 0.3;
  float determinant = xx * yy - xy * xy;
  if (!(determinant > 0.0)) return;
  conic = vec3(yy, -xy, xx) / determinant;
  float reach = sqrt(2.0 * log(255.0 * opacity));
  vec2 extent = reach * sqrt(vec2(xx, yy)) + 1.0;
  vec2 center = focal * p.xy / p.z + 0.5 * size;
  offset = corner * extent;
  color = vec4(shade(normalize(mean - eye)), opacity);
  vec2 pixel = center + offset;
  gl_Position = vec4(2.0 * pixel.x / size.x - 1.0, 1.0 - 2.0 * pixel.y / size.y, 0.0, 1.0);
}`;

const FRAGMENT = `#version 300 es
precision highp float;
in vec2 offset;
flat in vec3 conic;
flat in vec4 color;
out vec4 pixel;
void main() {
  float power = 0.5 * (conic.x * offset.x * offset.x + conic.z * offset.y * offset.y) + conic.y * offset.x * offset.y;
  float alpha = min(0.999, color.a * exp(-power));
  if (alpha < 1.0 / 255.0) discard;
  pixel = vec4(color.rgb * alpha, alpha);
}`;

const COPY_VERTEX = `#version 300 es
layout(location = 0) in vec2 corner;
void main() { gl_Position = vec4(corner, 0.0, 1.0); }`;
const COPY_FRAGMENT = `#version 300 es
precision highp float;
uniform sampler2D image;
out vec4 pixel;
void main() { pixel = vec4(texelFetch(image, ivec2(gl_FragCoord.xy), 0).rgb, 1.0); }`;
