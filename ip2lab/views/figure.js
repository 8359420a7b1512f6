// The page's side of ip2lab.views.figure: BokehJS once, one Bokeh document a widget, patches from the kernel, events to it.

const pages = (window.ip2labBokeh ??= {}); // version -> promise of BokehJS, shared by every figure of the page

async function run(packed) {
  const plain = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(plain).text();
  document.head.append(script);
  script.remove();
}

const found = (version) => (window.Bokeh?.version === version ? window.Bokeh : window.Bokeh?.[version]);

async function bokeh(model) {
  const loader = await model.widget_manager.get_model(model.get("loader").replace("IPY_MODEL_", ""));
  const version = loader.get("version");
  pages[version] ??= (async () => {
    if (!found(version)) await run(loader.get("script"));
    found(version).set_log_level("error");
    return found(version);
  })();
  return pages[version];
}

const buffer = (view) => view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength);
const named = (ids, views) => new Map(ids.map((id, i) => [id, buffer(views[i])]));

// Colours of what is not data follow the page, so a figure is readable in a light and in a dark theme.
function dress(doc) {
  const probe = document.createElement("span");
  probe.style.color = "var(--jp-ui-font-color1, var(--vscode-foreground, currentcolor))";
  document.body.append(probe);
  const ink = getComputedStyle(probe).color;
  probe.remove();
  const faint = `rgba(${ink.match(/[\d.]+/g).slice(0, 3)}, 0.14)`;
  const looks = {
    Axis: { axis_label_text_color: ink, major_label_text_color: ink, axis_line_color: ink, major_tick_line_color: ink, minor_tick_line_color: null },
    Grid: { grid_line_color: faint },
    Plot: { background_fill_color: null, border_fill_color: null, outline_line_color: faint },
    Legend: { label_text_color: ink, title_text_color: ink, background_fill_color: null, border_line_color: null },
    ColorBar: { title_text_color: ink, major_label_text_color: ink, background_fill_color: null, major_tick_line_color: ink },
    Title: { text_color: ink },
  };
  for (const one of doc.all_models) {
    const kind = /Axis$/.test(one.type) ? "Axis" : one.type === "Figure" ? "Plot" : one.type;
    if (looks[kind]) one.setv(looks[kind], { sync: false });
  }
}

const element = (name, parent, text = "") => {
  const node = document.createElement("div");
  node.className = `ip2lab-${name}`;
  node.innerHTML = text;
  parent.append(node);
  return node;
};

export default () => {
  let Bokeh, Document, master, words, queue = Promise.resolve();
  const late = [];
  const shown = new Set(); // what is on the page: {doc, el, panels}

  const write = (panels) => {
    for (const [name, panel] of Object.entries(panels)) {
      const [caption, note] = [words.captions[name] ?? "", words.notes[name] ?? ""];
      if (panel.caption.innerHTML !== caption) panel.caption.innerHTML = caption;
      panel.note.textContent = note;
      panel.plot.style.visibility = note ? "hidden" : "";
    }
  };

  // The document that new views are copied from gets its patches when there is time, or a view needs it.
  const catchUp = () => {
    for (const [patch, buffers] of late.splice(0)) master.apply_json_patch(patch, buffers);
  };

  const apply = (message, views) => {
    Object.assign(words.captions, message.captions);
    Object.assign(words.notes, message.notes);
    const change = message.patch && [JSON.parse(message.patch), named(message.ids, views)];
    for (const { doc, el, panels } of shown) {
      if (change) doc.apply_json_patch(...change);
      el.classList.remove("ip2lab-busy");
      if (message.rebuilt) dress(doc);
      write(panels);
    }
    if (change && late.push(change) === 1) setTimeout(catchUp, 1000);
  };

  // What the person did goes to the kernel; of a moving pointer only the last place every 60 ms.
  const forward = (model, doc) => {
    let waiting = null;
    doc.on_change((change) => {
      if (change.model?.type === "Selection" && change.attr === "indices") {
        model.send({ event: "selection", model: change.model.id, indices: [...change.value] });
      } else if (change.msg_type === "bokeh_event" && change.msg_data.origin) {
        const { event_name, origin, x, y } = change.msg_data;
        const message = { event: event_name, model: origin.id, x, y };
        if (event_name !== "mousemove") return model.send(message);
        if (!waiting) setTimeout(() => { model.send(waiting); waiting = null; }, 60);
        waiting = message;
      }
    });
  };

  return {
    async initialize({ model }) {
      const ready = (async () => {
        Bokeh = await bokeh(model);
        Document = Bokeh.require("document").Document;
        const page = model.get("page");
        words = { captions: page.captions, notes: page.notes };
        master = Document.from_json(JSON.parse(page.document), [], named(page.ids, page.buffers));
      })();
      queue = ready;
      model.on("msg:custom", (message, views) => {
        if (message.busy) for (const { el } of shown) el.classList.add("ip2lab-busy");
        else queue = queue.then(() => apply(message, views));
      });
      await ready;
    },
    async render({ model, el }) {
      await queue;
      catchUp();
      const doc = Document.from_json(master.to_json());
      const panels = {};
      const figure = element("figure", el); // its own element: the widget's layout writes into the style of `el`
      figure.style.gridTemplate = model.get("grid");
      for (const name of model.get("panels")) {
        const panel = element("panel", figure);
        panel.style.gridArea = name;
        panels[name] = { caption: element("caption", panel), plot: element("plot", panel), note: element("note", panel) };
      }
      const here = { doc, el: figure, panels };
      shown.add(here);
      write(panels);
      dress(doc);
      const views = await Bokeh.embed.add_document_standalone(doc, el, Object.values(panels).map((panel) => panel.plot));
      forward(model, doc);
      const watch = new MutationObserver(() => dress(doc));
      watch.observe(document.body, { attributeFilter: ["class", "data-jp-theme-name", "data-vscode-theme-id"] });
      return () => {
        watch.disconnect();
        shown.delete(here);
        views.clear();
      };
    },
  };
};
