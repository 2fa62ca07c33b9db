// SPDX-License-Identifier: Apache-2.0
// Elements of a page; the first script of every page. Text goes in as text nodes only, never as markup.
"use strict";

const SVG = "http://www.w3.org/2000/svg";
const NOTHING = "–";

function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function html(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}
