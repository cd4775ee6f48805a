//! Words by language: which lean on a sentence before, which carry no meaning, which open a definition.

use std::collections::HashSet;

/// Words of one language, all in lower case.
pub struct Words {
    /// First words of a sentence that cannot be understood without the one before it.
    pub leaning: Vec<&'static str>,
    /// Demonstratives: the same, anywhere in a sentence's first five words.
    pub pointing: HashSet<&'static str>,
    /// Words without meaning of their own.
    pub stop: HashSet<&'static str>,
    /// What stands inside a definition or a description of what something is.
    pub defining: Vec<&'static str>,
}

/// The words of `language`; of English where there are none.
pub fn words(language: &str) -> Words {
    let table = match language {
        "de" => &GERMAN,
        "fr" => &FRENCH,
        "it" => &ITALIAN,
        "es" => &SPANISH,
        "ru" => &RUSSIAN,
        "uk" => &UKRAINIAN,
        _ => &ENGLISH,
    };
    Words {
        leaning: table.leaning.split('|').collect(),
        pointing: table.pointing.split('|').collect(),
        stop: table.stop.split('|').collect(),
        defining: table.defining.split('|').collect(),
    }
}

/// [`Words`] as written here: entries between bars.
struct Table {
    leaning: &'static str,
    pointing: &'static str,
    stop: &'static str,
    defining: &'static str,
}

const ENGLISH: Table = Table {
    leaning: "it|its|they|their|them|he|she|his|her|that|however|therefore|thus|hence|moreover|furthermore\
              |also|besides|nevertheless|nonetheless|otherwise|then|so|but|and|or|yet|similarly|likewise\
              |consequently|instead|additionally|for example|for instance|in addition|as a result\
              |on the other hand|here|another|finally|second|secondly|third|thirdly|both|conversely\
              |accordingly|alternatively|in other words|that is|in particular|if so|if not|in contrast\
              |by contrast|in turn|neither|yes|no|note|again|still|meanwhile|after that|before that\
              |the former|the latter|the same|the above|the following|as above|in short|next|afterwards\
              |now|the other|one of them|for more information|for further information|for details|firstly|as you can see|the answer|most of them|some of them|all of them|well|let's|let’s|see|read\
              |say|sure|the rest|the second|the third|in our example|anyway|apart from|even so|please|not\
              |nor|we|i|my|our",
    pointing: "this|these|those|such|above|below|it|they|them|he|she",
    stop: "a|an|the|of|to|in|on|at|by|for|from|with|without|and|or|but|if|then|than|that|this|these\
              |those|there|here|is|are|was|were|be|been|being|am|do|does|did|has|have|had|can|could|may\
              |might|must|shall|should|will|would|not|no|it|its|they|them|their|he|she|his|her|we|us|our\
              |you|your|i|my|me|as|so|such|some|any|all|each|every|which|who|whom|whose|what|when|where\
              |why|how|into|onto|over|under|between|about|also|only|other|others|more|most|less|many|much\
              |very|just|one|two|use|used|using|see|get|make|made|e.g|i.e|etc|example|following|same\
              |however|therefore|both|either|neither|because|while|during|after|before|out|up|down|new|own\
              |way|well|even|still|too|now|per|via|need|needs|like|within|upon|through|against|chapter\
              |section|page|document|documents|overview|report",
    defining: " is a | is an | is the | are a | are the | means | refers to | is called | are called \
              | is known as | is defined as | consists of | denotes | describes ",
};

const GERMAN: Table = Table {
    leaning: "er|sie|es|ihr|ihre|ihren|sein|seine|jedoch|daher|deshalb|deswegen|somit|also|außerdem|ferner\
              |zudem|dennoch|trotzdem|sonst|andernfalls|dann|aber|und|oder|denn|doch|ebenso|folglich\
              |stattdessen|zusätzlich|zum beispiel|beispielsweise|dadurch|dabei|dazu|damit|davon|dafür\
              |danach|darin|daraus|hier|hierbei|hierzu|dort|schließlich|allerdings|zweitens|drittens|beide\
              |umgekehrt|im gegensatz|so|auch|ja|nein|nun|anschließend|letztere|erstere|das|da|weiterhin\
              |bitte|darüber|dagegen|ich|wir|sagen wir|weitere informationen|für weitere informationen|erstens|die antwort|nehmen wir|stellen sie",
    pointing: "dies|diese|dieser|dieses|diesem|diesen|solche|solcher|solches|solchen|jene|oben|unten\
              |derartige|desweiteren",
    stop: "der|die|das|den|dem|des|ein|eine|einer|eines|einem|einen|und|oder|aber|wenn|dann|als|dass\
              |daß|ob|ist|sind|war|waren|sein|wird|werden|wurde|wurden|hat|haben|hatte|kann|können|könnte\
              |soll|sollte|sollten|muss|müssen|darf|dürfen|nicht|kein|keine|er|sie|es|ihr|ihre|ihren|ihrem\
              |wir|uns|ich|man|sich|in|im|an|am|auf|aus|bei|beim|mit|nach|von|vom|vor|zu|zum|zur|für|über\
              |unter|durch|gegen|ohne|um|bis|wie|was|wer|wo|warum|welche|welcher|welches|dieser|diese\
              |dieses|diesem|diesen|auch|nur|noch|schon|sehr|mehr|so|hier|dort|alle|alles|andere|anderen\
              |sowie|bzw|etwa|viele|vielen|einige|zwei|gibt|verwendet|verwenden|beispiel|kapitel|abschnitt\
              |seite|dokument|bericht|überblick",
    defining: " ist ein | ist eine | ist die | ist der | ist das | sind die | bedeutet | bezeichnet \
              | heißt | heißen | nennt man | besteht aus | versteht man ",
};

const FRENCH: Table = Table {
    leaning: "il|elle|ils|elles|cela|ceci|ça|cependant|toutefois|donc|ainsi|mais|et|ou|or|car|puis|ensuite\
              |alors|aussi|de plus|en outre|par exemple|par conséquent|néanmoins|pourtant|sinon|enfin|ici\
              |en effet|de même|au contraire|y|en revanche|leur|leurs|son|sa|ses|oui|non|c'est|c’est|l'un\
              |l’un",
    pointing: "ce|cet|cette|ces|ceux|celles|celui|celle|tel|telle|tels|telles",
    stop: "le|la|les|l|un|une|des|du|de|d|à|au|aux|en|dans|sur|sous|par|pour|avec|sans|et|ou|mais|si\
              |que|qui|quoi|dont|où|ce|cet|cette|ces|il|elle|ils|elles|on|nous|vous|je|se|s|ne|n|pas|plus\
              |est|sont|été|être|était|a|ont|avoir|peut|peuvent|doit|doivent|fait|faire|son|sa|ses|leur\
              |leurs|notre|votre|comme|aussi|très|tout|tous|toute|toutes|même|autre|autres|entre|après\
              |avant|chapitre|page|exemple|c|qu|y",
    defining: " est un | est une | est le | est la | sont des | sont les | signifie | désigne | s'appelle \
              | s’appelle | consiste | se compose ",
};

const ITALIAN: Table = Table {
    leaning: "egli|ella|esso|essa|essi|esse|ciò|tuttavia|però|quindi|dunque|pertanto|perciò|ma|e|ed|o\
              |oppure|poi|inoltre|anche|così|infatti|per esempio|ad esempio|altrimenti|infine|qui|invece\
              |al contrario|allora|comunque|loro|suo|sua|lo stesso|sì|no|in tal caso|in altre parole|per maggiori informazioni|ulteriori informazioni|la risposta|vi\
              |diciamo|si noti|entrambi|io|noi",
    pointing: "questo|questa|questi|queste|quest|quello|quella|quelli|quelle|tale|tali",
    stop: "il|lo|la|i|gli|le|l|un|uno|una|di|del|dello|della|dei|degli|delle|dell|a|al|allo|alla|ai\
              |agli|alle|all|da|dal|dalla|dai|dalle|dall|in|nel|nello|nella|nei|negli|nelle|nell|con|su\
              |sul|sulla|sui|sulle|sull|per|tra|fra|e|ed|o|ma|se|che|chi|cui|come|quando|dove|perché|non|è\
              |sono|era|erano|essere|stato|ha|hanno|avere|può|possono|deve|devono|si|ci|ne|questo|questa\
              |questi|queste|quello|quella|suo|sua|suoi|sue|loro|anche|più|molto|tutto|tutti|tutte|altro\
              |altri|altre|solo|dopo|prima|viene|vengono|fare|esempio|capitolo|pagina|quali|quale|cosa|c",
    defining: " è un | è uno | è una | è il | è la | è l’| sono i | sono le | significa | si chiama \
              | indica | consiste | è chiamat",
};

const SPANISH: Table = Table {
    leaning: "él|ella|ellos|ellas|ello|sin embargo|no obstante|por tanto|por lo tanto|así|pero|y|o\
              |entonces|luego|además|también|por ejemplo|por consiguiente|en cambio|si no|finalmente|aquí\
              |asimismo|de hecho|al contrario|por eso|su|sus|sí|no|lo mismo",
    pointing: "esto|este|esta|estos|estas|eso|ese|esa|esos|esas|aquello|tal|tales|dicho|dicha",
    stop: "el|la|los|las|un|una|unos|unas|de|del|a|al|en|con|por|para|sin|sobre|entre|y|e|o|u|pero|si\
              |que|quien|cual|cuales|como|cuando|donde|no|es|son|era|eran|ser|sido|está|están|ha|han|haber\
              |puede|pueden|debe|deben|se|su|sus|lo|le|les|este|esta|estos|estas|esto|ese|esa|más|muy\
              |también|todo|todos|toda|todas|otro|otra|otros|otras|mismo|hasta|desde|ejemplo|capítulo\
              |página|hace|hacer|porque|qué",
    defining: " es un | es una | es el | es la | son los | son las | significa | se llama | se refiere \
              | consiste | designa ",
};

const RUSSIAN: Table = Table {
    leaning: "он|она|оно|они|его|её|ее|их|им|ему|ей|однако|поэтому|потому|затем|тогда|также|кроме того\
              |тем не менее|но|и|а|или|иначе|например|к примеру|так|таким образом|следовательно|здесь|там\
              |то есть|в результате|наконец|впрочем|зато|напротив|аналогично|далее|во-вторых|в-третьих|оба\
              |обе|да|нет|же|при этом|тут|потом|если нет|если да|смотрите|теперь|обратите|в противном\
              |иными словами|впоследствии|сюда|подробнее|подробности|дополнительную информацию|во-первых|ответ|к тому же|помимо|вместо|я|мы",
    pointing: "это|этот|эта|эти|этого|этому|этим|этом|этой|эту|этих|этими|такой|такая|такое|такие|таких\
              |такого|тот|те|тех|того|том|тому|данный|данная|выше|ниже|вышеуказанные|последний",
    stop: "и|в|во|на|с|со|к|ко|о|об|от|до|из|за|по|при|для|без|под|над|у|а|но|или|да|не|ни|что|чтобы\
              |как|так|если|то|же|ли|бы|это|этот|эта|эти|этого|этой|этом|этих|тот|те|он|она|оно|они|его|её\
              |ее|их|мы|вы|вас|вам|нас|я|мне|который|которая|которое|которые|которых|которой|которого|быть\
              |был|была|было|были|будет|будут|есть|может|могут|можно|нужно|должен|должна|должны|также\
              |только|уже|ещё|еще|очень|более|все|всё|всех|другие|других|другой|некоторые|где|когда|почему\
              |какой|какие|какая|после|перед|между|через|однако|например|глава|раздел|страница|чем|себя\
              |свой|своей|своих|сам|нет|вот|т|е|является|являются|такой|такие|обзор|отчёт|ваш|ваши|вашего\
              |вашей|том|тем|того",
    defining: " — это | —это | - это | – это | является | являются | называется | называют | называются \
              | означает | представляет собой | состоит из | обозначает ",
};

const UKRAINIAN: Table = Table {
    leaning: "він|вона|воно|вони|його|її|їх|їхній|однак|проте|тому|потім|тоді|також|крім того|але|і|й|та|а\
              |або|інакше|наприклад|так|таким чином|отже|тут|там|тобто|зрештою|втім|навпаки|далі|по-друге\
              |обидва|ні|при цьому",
    pointing: "це|цей|ця|ці|цього|цьому|цим|цієї|цих|такий|така|таке|такі|таких|той|ті|тих|того|вище|нижче",
    stop: "і|й|та|в|у|на|з|із|зі|до|від|за|по|при|для|без|під|над|а|але|або|чи|не|ні|що|щоб|як|так|якщо\
              |то|же|ж|б|би|це|цей|ця|ці|цього|цієї|той|він|вона|воно|вони|його|її|їх|ми|ви|вас|вам|нас|я\
              |який|яка|яке|які|яких|якого|бути|був|була|було|були|буде|будуть|є|може|можуть|можна\
              |потрібно|також|тільки|лише|вже|ще|дуже|більш|більше|всі|усі|все|інші|інших|інший|де|коли\
              |чому|після|перед|між|через|наприклад|розділ|сторінка|себе|свій|про|огляд",
    defining: " — це | – це | - це | є | називається | називають | означає | являє собою | складається з ",
};
